{{/* The objects' name: at most 63 characters, the limit of a DNS label. */}}
{{- define "ginkgo-exporter.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The objects' namespace. */}}
{{- define "ginkgo-exporter.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/*
Labels that select the pods. Kubernetes does not let a Deployment's selector
change, so these two labels stay the same in all versions of the chart
(tests/helm keeps a copy). The name is fixed, since monitors make the Prometheus
job from it.
*/}}
{{- define "ginkgo-exporter.selectorLabels" -}}
app.kubernetes.io/name: ginkgo-exporter
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/*
Labels of every object and of the pods beside the selector's. The chart's version
is not among them: a new version of the chart alone restarts no pod.
*/}}
{{- define "ginkgo-exporter.metaLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: ginkgo
{{- end -}}

{{/*
All labels of the pods. Takes a list of the root and of a mapping of more labels.
The chart's own labels override the user's.
*/}}
{{- define "ginkgo-exporter.podLabels" -}}
{{- $root := index . 0 -}}
{{- $own := merge (include "ginkgo-exporter.selectorLabels" $root | fromYaml) (include "ginkgo-exporter.metaLabels" $root | fromYaml) -}}
{{- toYaml (merge $own (deepCopy (index . 1)) (deepCopy $root.Values.commonLabels)) -}}
{{- end -}}

{{/* All labels of one object: the same, and the chart's version. */}}
{{- define "ginkgo-exporter.labels" -}}
{{- $chart := (index . 0).Chart -}}
{{- $own := dict "helm.sh/chart" (printf "%s-%s" $chart.Name $chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- toYaml (merge $own (include "ginkgo-exporter.podLabels" . | fromYaml)) -}}
{{- end -}}

{{/*
Metadata of one object. Takes a list of the root, the object's name (empty for the
name of most objects), and the mapping of the object's values, from which it takes
`namespace`, `labels` and `annotations`, if they are there. The object's annotations
override the common annotations.
*/}}
{{- define "ginkgo-exporter.metadata" -}}
{{- $root := index . 0 -}}
{{- $own := index . 2 -}}
name: {{ default (include "ginkgo-exporter.fullname" $root) (index . 1) }}
namespace: {{ default (include "ginkgo-exporter.namespace" $root) $own.namespace }}
labels:
  {{- include "ginkgo-exporter.labels" (list $root ($own.labels | default dict)) | nindent 2 }}
{{- with merge (deepCopy ($own.annotations | default dict)) (deepCopy ($root.Values.commonAnnotations | default dict)) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Name of the created PersistentVolumeClaim. */}}
{{- define "ginkgo-exporter.claimName" -}}
{{- include "ginkgo-exporter.fullname" . | trunc 55 | trimSuffix "-" }}-journal
{{- end -}}

{{/* Name of the pod of `helm test`. */}}
{{- define "ginkgo-exporter.testName" -}}
{{- include "ginkgo-exporter.fullname" . | trunc 58 | trimSuffix "-" }}-test
{{- end -}}

{{/* Labels that select the pod of `helm test`; the Service must not select it. */}}
{{- define "ginkgo-exporter.testLabels" -}}
app.kubernetes.io/name: ginkgo-exporter-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ginkgo-exporter.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "ginkgo-exporter.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "ginkgo-exporter.image" -}}
{{- $name := .Values.image.repository -}}
{{- with default .Values.image.registry (.Values.global).imageRegistry -}}
{{- $name = printf "%s/%s" (trimSuffix "/" .) $name -}}
{{- end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $name .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The Secrets to pull images with, as a list of Kubernetes, each once. A value may name a Secret or hold its reference. */}}
{{- define "ginkgo-exporter.pullSecrets" -}}
{{- $secrets := list -}}
{{- range concat ((.Values.global).imagePullSecrets | default list) .Values.imagePullSecrets -}}
{{- $secrets = append $secrets (kindIs "map" . | ternary . (dict "name" .)) -}}
{{- end -}}
{{- with $secrets | uniq -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{/* The addresses in redis.url as a JSON list; redis.url is a text or a list. */}}
{{- define "ginkgo-exporter.redisUrls" -}}
{{- if kindIs "slice" .Values.redis.url -}}
{{- toJson .Values.redis.url -}}
{{- else if .Values.redis.url -}}
{{- list .Values.redis.url | toJson -}}
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{/*
Ports of a list of URLs, each once, as a JSON list. A regular expression finds
them, because an error of urlParse would print the whole URL with its password.
*/}}
{{- define "ginkgo-exporter.urlPorts" -}}
{{- $ports := list -}}
{{- range . -}}
{{- if not (hasPrefix "unix:" .) -}}
{{- $port := regexReplaceAll `^[a-z]+://(?:.*@)?(?:\[[^\]]*\]|[^:/?]*)(?::([0-9]+))?(?:[/?].*)?$` . "${1}" -}}
{{- if not $port -}}
{{- $port = get (dict "http" "80" "https" "443") (splitList ":" . | first) | default "6379" -}}
{{- end -}}
{{- $ports = append $ports (int $port) -}}
{{- end -}}
{{- end -}}
{{- uniq $ports | sortAlpha | toJson -}}
{{- end -}}

{{/* A probe. Takes a list of the root, the path and the probe's timing. */}}
{{- define "ginkgo-exporter.probe" -}}
{{- $root := index . 0 -}}
{{- $get := dict "path" (index . 1) "port" "http" "scheme" (upper $root.Values.web.scheme) -}}
{{- toYaml (mergeOverwrite (deepCopy (index . 2)) (dict "httpGet" $get)) -}}
{{- end -}}

{{/* Constraints that spread the pods. A constraint without a selector gets the pods' selector. */}}
{{- define "ginkgo-exporter.spread" -}}
{{- $constraints := .Values.topologySpreadConstraints -}}
{{- if and (not $constraints) (gt (int .Values.replicaCount) 1) -}}
{{- $constraints = list (dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway") -}}
{{- end -}}
{{- $filled := list -}}
{{- range $constraints -}}
{{- $constraint := deepCopy . -}}
{{- if not (hasKey . "labelSelector") -}}
{{- $_ := set $constraint "labelSelector" (dict "matchLabels" (include "ginkgo-exporter.selectorLabels" $ | fromYaml)) -}}
{{- end -}}
{{- $filled = append $filled $constraint -}}
{{- end -}}
{{- with $filled -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}
