{{/* Folder of the pod's mounts. */}}
{{- define "ginkgo-exporter.mountRoot" -}}/etc/ginkgo-exporter{{- end -}}

{{/*
Labels of pushed alerts, as YAML. They must equal the labels of the same alerts
sent by Prometheus: the job, the labels that the operator adds to a target and
the rules keep (namespace, service), the labels that Prometheus itself adds, and
the labels that the rules set. A label of the rules overrides the others, as in
Prometheus.
*/}}
{{- define "ginkgo-exporter.pushLabels" -}}
{{- $labels := dict "job" "ginkgo-exporter" -}}
{{- if or .Values.serviceMonitor.enabled .Values.podMonitor.enabled -}}
{{- $_ := set $labels "namespace" (include "ginkgo-exporter.namespace" .) -}}
{{- $_ := set $labels "service" (include "ginkgo-exporter.fullname" .) -}}
{{- end -}}
{{- $labels = mergeOverwrite $labels .Values.alertmanager.labels .Values.alerts.labels .Values.alerts.pushed.labels -}}
{{- with .Values.alerts.pushed.severity -}}
{{- $_ := set $labels "severity" . -}}
{{- end -}}
{{- toYaml $labels -}}
{{- end -}}

{{/* The exporter's configuration file: `config`, and the settings from the chart's other values. */}}
{{- define "ginkgo-exporter.config" -}}
{{- $root := include "ginkgo-exporter.mountRoot" . -}}
{{- $redis := dict -}}
{{- with include "ginkgo-exporter.redisUrls" . | fromJsonArray -}}
{{- if not $.Values.redis.existingSecretUrlKey -}}
{{- $_ := set $redis "url" . -}}
{{- end -}}
{{- end -}}
{{- $_ := set $redis "mode" .Values.redis.mode -}}
{{- with .Values.redis.sentinelMaster -}}
{{- $_ := set $redis "sentinel-master" . -}}
{{- end -}}
{{- with .Values.redis.username -}}
{{- $_ := set $redis "username" . -}}
{{- end -}}
{{- if and .Values.redis.existingSecret .Values.redis.existingSecretPasswordKey -}}
{{- $_ := set $redis "password-file" (printf "%s/redis/password" $root) -}}
{{- end -}}
{{- if .Values.redis.tls.existingSecret -}}
{{- range $flag, $key := dict "tls-ca-file" .Values.redis.tls.caKey "tls-cert-file" .Values.redis.tls.certKey "tls-key-file" .Values.redis.tls.keyKey -}}
{{- if $key -}}
{{- $_ := set $redis $flag (printf "%s/redis-tls/%s" $root $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $web := dict "listen-address" (printf ":%d" (int .Values.containerPort)) -}}
{{- with .Values.web.existingSecret -}}
{{- $_ := set $web "config" (dict "file" (printf "%s/web/%s" $root $.Values.web.existingSecretKey)) -}}
{{- end -}}
{{- with .Values.externalUrl -}}
{{- $_ := set $web "external-url" . -}}
{{- end -}}
{{- $own := dict "redis" $redis "web" $web "mass-loss" .Values.massLoss -}}
{{- if (.Values.journal).enabled -}}
{{- $journal := dict "file" .Values.journal.file -}}
{{- with .Values.journal.maxSize -}}
{{- $_ := set $journal "max-size" . -}}
{{- end -}}
{{- $_ := set $own "journal" $journal -}}
{{- end -}}
{{- if .Values.alertmanager.urls -}}
{{- $labels := list -}}
{{- range $name, $value := include "ginkgo-exporter.pushLabels" . | fromYaml -}}
{{- if $value -}}
{{- $labels = append $labels (printf "%s=%s" $name $value) -}}
{{- end -}}
{{- end -}}
{{- $push := dict "url" .Values.alertmanager.urls "label" $labels "rules-file" (printf "%s/config/rules.yaml" $root) -}}
{{- if .Values.alertmanager.existingSecret -}}
{{- $_ := set $push "config-file" (printf "%s/alertmanager/%s" $root .Values.alertmanager.existingSecretKey) -}}
{{- end -}}
{{- if .Values.alertmanager.soleWriter -}}
{{- $_ := set $push "sole-writer" true -}}
{{- end -}}
{{- $_ := set $own "alertmanager" $push -}}
{{- end -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.config) $own) -}}
{{- end -}}
