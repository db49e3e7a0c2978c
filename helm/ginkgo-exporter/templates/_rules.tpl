{{/* The alerts that the exporter pushes too, beside Prometheus. */}}
{{- define "ginkgo-exporter.pushedAlerts" -}}
{{- list "GinkgoNodeOffline" "GinkgoMassHeartbeatLoss" "GinkgoRedisUnreachable" "GinkgoRedisWritesRefused" | toJson -}}
{{- end -}}

{{/* The template of all rules. Its head says what its names between « and » stand for. */}}
{{- define "ginkgo-exporter.ruleTemplate" -}}
{{- .Files.Get "files/ginkgo.rules.template.yml" -}}
{{- end -}}

{{/* What stands in the rules at the names between « and », in JSON's form: thresholds and settings. */}}
{{- define "ginkgo-exporter.ruleNames" -}}
{{- $length := int .Values.alerts.queueLength -}}
{{- $shown := ternary (printf "%d,%03d" (div $length 1000) (mod $length 1000)) (toString $length) (ge $length 1000) -}}
{{- $matchers := join ", " .Values.alerts.selectors | toJson | trimPrefix "\"" | trimSuffix "\"" -}}
{{- $names := dict "«queue-length»" $shown "«job»" "ginkgo-exporter" "«installation-label»" "cluster" -}}
{{- $_ := set $names "{«selectors»}" (ternary (printf "{%s}" $matchers) "" (ne $matchers "")) -}}
{{- $_ := set $names "«selectors», " (ternary (printf "%s, " $matchers) "" (ne $matchers "")) -}}
{{- $thresholds := (include "ginkgo-exporter.ruleTemplate" . | fromYaml).thresholds -}}
{{- range $alert, $known := $thresholds -}}
{{- range $name, $threshold := $known -}}
{{- $whole := get (dict "queue-length" $length "heartbeat-ttl" 30) (get $threshold "share-of") | default 1 -}}
{{- $_ := set $names (printf "«%s.%s»" $alert $name) (round (mulf $threshold.default $whole) 6 | toString) -}}
{{- end -}}
{{- end -}}
{{- range $alert, $change := .Values.alerts.rules -}}
{{- $known := get $thresholds $alert | default dict -}}
{{- range $name, $number := dig "thresholds" dict $change -}}
{{- if not (hasKey $known (kebabcase $name)) -}}
{{- $there := list -}}
{{- range $each, $_ := $known -}}
{{- $there = append $there ($each | replace "-" "_" | camelcase | untitle) -}}
{{- end -}}
{{- fail (printf "alerts.rules.%s.thresholds.%s: there is no such threshold; there are: %s" $alert $name (join ", " $there | default "none")) -}}
{{- end -}}
{{- if hasKey $change "expr" -}}
{{- fail (printf "alerts.rules.%s.thresholds.%s: expr replaces the whole expression; write the number into it" $alert $name) -}}
{{- end -}}
{{- $_ := set $names (printf "«%s.%s»" $alert (kebabcase $name)) (toString $number) -}}
{{- end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/*
The rules' groups with the changes of alerts.*. They are parsed and written again,
and never go through the template engine, so {{ $labels }} stays as it is.
*/}}
{{- define "ginkgo-exporter.ruleGroups" -}}
{{- $pushed := include "ginkgo-exporter.pushedAlerts" . | fromJsonArray -}}
{{- $known := list -}}
{{- $groups := list -}}
{{- $names := include "ginkgo-exporter.ruleNames" . | fromJson -}}
{{- range $group := (include "ginkgo-exporter.ruleTemplate" . | fromYaml).groups -}}
{{- $rules := list -}}
{{- range $rule := $group.rules -}}
{{- $keep := true -}}
{{- $change := get $.Values.alerts.rules ($rule.alert | default "") | default dict -}}
{{- $filled := toJson $rule | replace "«for»" (dig "for" ($rule.for | default "") $change) -}}
{{- range $name, $text := $names -}}
{{- $filled = replace $name $text $filled -}}
{{- end -}}
{{- $rule = regexReplaceAll "«([0-9a-z]+)»" $filled "${1}" | fromJson -}}
{{- if hasKey $rule "alert" -}}
{{- $known = append $known $rule.alert -}}
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
{{- if $.Values.alerts.runbookUrlPrefix -}}
{{- $_ := set $annotations "runbook_url" (printf "%s/%s" (trimSuffix "/" $.Values.alerts.runbookUrlPrefix) (base $annotations.runbook_url)) -}}
{{- else if $.Values.externalUrl -}}
{{- $node := "" -}}
{{- if contains "$labels.node_id" (toJson $annotations) -}}
{{- $node = printf "?node_id={{ $labels.node_id%s }}" (ternary "" " | urlquery" (has $rule.alert $pushed)) -}}
{{- end -}}
{{- $_ := set $annotations "runbook_url" (printf "%s/runbooks/%s%s" (trimSuffix "/" $.Values.externalUrl) $rule.alert $node) -}}
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
{{- end -}}
{{- if $keep -}}
{{- $rules = append $rules $rule -}}
{{- end -}}
{{- end -}}
{{- if $rules -}}
{{- $groups = append $groups (set $group "rules" $rules) -}}
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
