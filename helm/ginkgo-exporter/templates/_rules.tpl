{{/* The alerts that the exporter pushes too, beside Prometheus. */}}
{{- define "ginkgo-exporter.pushedAlerts" -}}
{{- list "GinkgoNodeOffline" "GinkgoMassHeartbeatLoss" "GinkgoRedisUnreachable" "GinkgoRedisWritesRefused" | toJson -}}
{{- end -}}

{{/*
An expression with other thresholds. Takes a list of the chart's files, the alert,
the expression, the alert's thresholds by name, and the rule that has the
expression: the alert itself or a recording. files/thresholds.yml has the places
of the numbers.
*/}}
{{- define "ginkgo-exporter.expr" -}}
{{- $alert := index . 1 -}}
{{- $expr := index . 2 -}}
{{- $places := get ((index . 0).Get "files/thresholds.yml" | fromYaml) $alert | default dict -}}
{{- range $name, $number := index . 3 -}}
{{- $place := get $places $name -}}
{{- if not $place -}}
{{- fail (printf "alerts.rules.%s.thresholds.%s: there is no such threshold; there are: %s" $alert $name (keys $places | sortAlpha | join ", " | default "none")) -}}
{{- end -}}
{{- $rule := $alert -}}
{{- if kindIs "map" $place -}}
{{- $rule = $place.rule -}}
{{- $place = $place.place -}}
{{- end -}}
{{- if eq $rule (index $ 4) -}}
{{- $found := regexReplaceAll `[{}]` $place "" -}}
{{- if ne (splitList $found $expr | len) 2 -}}
{{- fail (printf "alerts.rules.%s.thresholds.%s: the expression does not hold %q once" $alert $name $found) -}}
{{- end -}}
{{- $expr = replace $found (regexReplaceAll `\{.*\}` $place (toString $number)) $expr -}}
{{- end -}}
{{- end -}}
{{- $expr -}}
{{- end -}}

{{/*
The rules' groups with the changes of alerts.*. They are parsed and written again,
and never go through the template engine, so {{ $labels }} stays as it is.
*/}}
{{- define "ginkgo-exporter.ruleGroups" -}}
{{- $pushed := include "ginkgo-exporter.pushedAlerts" . | fromJsonArray -}}
{{- $known := list -}}
{{- $groups := list -}}
{{- range $path, $_ := .Files.Glob "files/rules/*.yml" -}}
{{- range $group := ($.Files.Get $path | fromYaml).groups -}}
{{- $rules := list -}}
{{- range $rule := $group.rules -}}
{{- $keep := true -}}
{{- if hasKey $rule "alert" -}}
{{- $known = append $known $rule.alert -}}
{{- $change := get $.Values.alerts.rules $rule.alert | default dict -}}
{{- $keep = dig "enabled" true $change -}}
{{- $labels := merge (deepCopy $.Values.alerts.labels) $rule.labels -}}
{{- if has $rule.alert $pushed -}}
{{- $labels = mergeOverwrite $labels $.Values.alerts.pushed.labels -}}
{{- with $.Values.alerts.pushed.severity -}}
{{- $_ := set $labels "severity" . -}}
{{- end -}}
{{- end -}}
{{- $labels = mergeOverwrite $labels (deepCopy (dig "labels" dict $change)) -}}
{{- with $change.severity -}}
{{- $_ := set $labels "severity" . -}}
{{- end -}}
{{- $_ := set $rule "labels" $labels -}}
{{- $annotations := $rule.annotations -}}
{{- with $.Values.alerts.runbookUrlPrefix -}}
{{- $_ := set $annotations "runbook_url" (printf "%s/%s" (trimSuffix "/" .) (base $annotations.runbook_url)) -}}
{{- end -}}
{{- with $.Values.alerts.dashboardUrlPrefix -}}
{{- $_ := set $annotations "dashboard_url" (printf "%s%s" (trimSuffix "/" .) $annotations.dashboard_url) -}}
{{- end -}}
{{- $_ := set $rule "annotations" (mergeOverwrite $annotations (deepCopy (dig "annotations" dict $change))) -}}
{{- range $key, $field := dict "for" "for" "keepFiringFor" "keep_firing_for" "expr" "expr" -}}
{{- if hasKey $change $key -}}
{{- $_ := set $rule $field (get $change $key) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $rule "expr" (include "ginkgo-exporter.expr" (list $.Files $rule.alert $rule.expr (dig "thresholds" dict $change) $rule.alert)) -}}
{{- else -}}
{{- range $alert, $change := $.Values.alerts.rules -}}
{{- $_ := set $rule "expr" (include "ginkgo-exporter.expr" (list $.Files $alert $rule.expr (dig "thresholds" dict $change) $rule.record)) -}}
{{- end -}}
{{- end -}}
{{- if $keep -}}
{{- $rules = append $rules $rule -}}
{{- end -}}
{{- end -}}
{{- if $rules -}}
{{- $groups = append $groups (set $group "rules" $rules) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := .Values.alerts.rules -}}
{{- if not (has $name $known) -}}
{{- fail (printf "alerts.rules.%s: there is no such alert; there are %s" $name (join ", " $known)) -}}
{{- end -}}
{{- if and (has $name $pushed) $.Values.alertmanager.urls -}}
{{- fail (printf "alerts.rules.%s: the exporter pushes this alert too (alertmanager.urls), so a change to the rule alone would make two alerts of one; change its severity and labels by alerts.pushed" $name) -}}
{{- end -}}
{{- end -}}
{{- toYaml $groups -}}
{{- end -}}

{{/* The rules of the alerts that the exporter pushes: it takes the labels, texts and links from them. */}}
{{- define "ginkgo-exporter.pushedRules" -}}
{{- $pushed := include "ginkgo-exporter.pushedAlerts" . | fromJsonArray -}}
{{- $rules := list -}}
{{- range $group := include "ginkgo-exporter.ruleGroups" . | fromYamlArray -}}
{{- range $rule := $group.rules -}}
{{- if has ($rule.alert | default "") $pushed -}}
{{- $rules = append $rules $rule -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml (dict "groups" (list (dict "name" "pushed" "rules" $rules))) -}}
{{- end -}}
