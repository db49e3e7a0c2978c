{{/* Refuses values that contradict each other, since a schema cannot compare values. */}}
{{- define "ginkgo-exporter.validate" -}}
{{- $urls := include "ginkgo-exporter.redisUrls" . | fromJsonArray -}}
{{- if and .Values.redis.existingSecretUrlKey (not .Values.redis.existingSecret) -}}
{{- fail "redis.existingSecretUrlKey names a key; say in redis.existingSecret which Secret has it" -}}
{{- end -}}
{{- if and (not $urls) (not .Values.redis.existingSecretUrlKey) -}}
{{- fail "redis.url is not set: say which Redis to read, e.g. --set redis.url=redis://redis:6379/0" -}}
{{- end -}}
{{- if and $urls .Values.redis.existingSecretUrlKey -}}
{{- fail "redis.url and redis.existingSecretUrlKey both say where Redis is; keep one" -}}
{{- end -}}
{{- range $urls -}}
{{- if not (regexMatch `^(rediss?|unix)://.` .) -}}
{{- fail "redis.url must begin with redis://, rediss:// or unix://" -}}
{{- end -}}
{{- end -}}
{{- range .Values.alertmanager.urls -}}
{{- if not (regexMatch `^https?://.` .) -}}
{{- fail "alertmanager.urls must begin with http:// or https://" -}}
{{- end -}}
{{- if regexMatch `^https?://[^/]*@` . -}}
{{- fail "alertmanager.urls must hold no password: that goes into the file of alertmanager.existingSecret" -}}
{{- end -}}
{{- end -}}
{{- if and (eq .Values.redis.mode "sentinel") (not .Values.redis.sentinelMaster) -}}
{{- fail "redis.mode is sentinel: set redis.sentinelMaster to the master's name in Sentinel" -}}
{{- end -}}
{{- if and (gt (len $urls) 1) (eq .Values.redis.mode "standalone") -}}
{{- fail "redis.url has several addresses, which redis.mode standalone can't use; set redis.mode to sentinel or cluster" -}}
{{- end -}}
{{- if ne (empty .Values.redis.tls.certKey) (empty .Values.redis.tls.keyKey) -}}
{{- fail "redis.tls.certKey and redis.tls.keyKey belong together; set both or leave out both" -}}
{{- end -}}
{{- if .Values.redis.tls.existingSecret -}}
{{- range $urls -}}
{{- if not (hasPrefix "rediss://" .) -}}
{{- fail "redis.tls.existingSecret needs addresses in redis.url that begin with rediss://" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled -}}
{{- fail "serviceMonitor.enabled and podMonitor.enabled would scrape every exporter twice; keep one" -}}
{{- end -}}
{{- if .Values.alertmanager.soleWriter -}}
{{- if .Values.prometheusRule.enabled -}}
{{- fail "alertmanager.soleWriter says that nobody else sends these alerts, but prometheusRule.enabled lets Prometheus send them; switch one off" -}}
{{- end -}}
{{- if gt (int .Values.replicaCount) 1 -}}
{{- fail "alertmanager.soleWriter allows one exporter, but replicaCount is above 1: one exporter would resolve what another still reports" -}}
{{- end -}}
{{- end -}}
{{- $persistence := (.Values.journal).persistence | default dict -}}
{{- if $persistence.enabled -}}
{{- if not .Values.journal.enabled -}}
{{- fail "journal.persistence.enabled keeps the journal's file, but journal.enabled makes none; set it too" -}}
{{- end -}}
{{- if gt (int .Values.replicaCount) 1 -}}
{{- fail "journal.persistence allows one exporter, but replicaCount is above 1: one process writes a journal. Without persistence each pod has a journal of its own" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.strategy (ne (.Values.strategy.type | default "RollingUpdate") "Recreate") (or .Values.alertmanager.soleWriter $persistence.enabled) -}}
{{- fail "strategy must be empty, or strategy.type Recreate, with alertmanager.soleWriter or journal.persistence: one exporter runs at a time" -}}
{{- end -}}
{{- if and (.Values.ingress).enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.enabled: say in ingress.hosts under which name, e.g. ingress.hosts[0].host=ginkgo.example.org" -}}
{{- end -}}
{{- if and (.Values.httpRoute).enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled: say in httpRoute.parentRefs by which gateway, e.g. httpRoute.parentRefs[0].name=public" -}}
{{- end -}}
{{- if and (gt (int .Values.replicaCount) 1) (ne (toString .Values.podDisruptionBudget.minAvailable) "") (eq (toString .Values.podDisruptionBudget.minAvailable) (toString .Values.replicaCount)) -}}
{{- fail "podDisruptionBudget.minAvailable equals replicaCount: no node could ever be drained" -}}
{{- end -}}
{{- range .Values.extraArgs -}}
{{- $flag := . | trimPrefix "--" | splitList "=" | first -}}
{{- if or (has $flag (list "config.file" "web.listen-address" "web.external-url" "web.config.file")) (hasPrefix "journal." $flag) (hasPrefix "redis." $flag | and (ne $flag "redis.timeout")) (hasPrefix "alertmanager." $flag) (hasPrefix "mass-loss." $flag) -}}
{{- fail (printf "extraArgs: --%s is set by the chart's own values (redis, massLoss, journal, alertmanager, web, externalUrl, containerPort)" $flag) -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if or (hasPrefix "GINKGO_EXPORTER_REDIS_" .name | and (ne .name "GINKGO_EXPORTER_REDIS_TIMEOUT")) (hasPrefix "GINKGO_EXPORTER_ALERTMANAGER_" .name) (hasPrefix "GINKGO_EXPORTER_JOURNAL_" .name) (hasPrefix "GINKGO_EXPORTER_MASS_LOSS_" .name) (has .name (list "GINKGO_EXPORTER_CONFIG_FILE" "GINKGO_EXPORTER_WEB_LISTEN_ADDRESS" "GINKGO_EXPORTER_WEB_EXTERNAL_URL" "GINKGO_EXPORTER_WEB_CONFIG_FILE")) -}}
{{- fail (printf "extraEnv: %s is set by the chart's own values (redis, massLoss, journal, alertmanager, web, externalUrl, containerPort)" .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
