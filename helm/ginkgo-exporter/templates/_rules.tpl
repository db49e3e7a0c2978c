{{/* The alerts that the exporter pushes too, beside Prometheus. */}}
{{- define "ginkgo-exporter.pushedAlerts" -}}
{{- list "GinkgoNodeOffline" "GinkgoMassHeartbeatLoss" "GinkgoRedisUnreachable" "GinkgoRedisWritesRefused" | toJson -}}
{{- end -}}

{{/*
What stands in the rules at the names between « and », by these names: thresholds
and the length of a queue. files/thresholds.yml has the defaults.
*/}}
{{- define "ginkgo-exporter.ruleParts" -}}
{{- $known := .Files.Get "files/thresholds.yml" | fromYaml -}}
{{- $length := int .Values.alerts.queueLength -}}
{{- $shown := $length | toString -}}
{{- if ge $length 1000 -}}
{{- $shown = printf "%d,%03d" (div $length 1000) (mod $length 1000) -}}
{{- end -}}
{{- $parts := dict "queueLength" $shown -}}
{{- range $alert, $thresholds := $known.defaults -}}
{{- range $name, $default := $thresholds -}}
{{- $_ := set $parts (printf "%s.%s" $alert $name) $default -}}
{{- end -}}
{{- end -}}
{{- range $alert, $shares := $known.sharesOfQueue -}}
{{- range $name, $share := $shares -}}
{{- $_ := set $parts (printf "%s.%s" $alert $name) (round (mulf $share $length) 3 | toString) -}}
{{- end -}}
{{- end -}}
{{- range $alert, $change := .Values.alerts.rules -}}
{{- range $name, $number := dig "thresholds" dict $change -}}
{{- $names := get $known.defaults $alert | default dict -}}
{{- if not (hasKey $names $name) -}}
{{- fail (printf "alerts.rules.%s.thresholds.%s: there is no such threshold; there are: %s" $alert $name (keys $names | sortAlpha | join ", " | default "none")) -}}
{{- end -}}
{{- if hasKey $change "expr" -}}
{{- fail (printf "alerts.rules.%s.thresholds.%s: expr replaces the whole expression; write the number into it" $alert $name) -}}
{{- end -}}
{{- $_ := set $parts (printf "%s.%s" $alert $name) (toString $number) -}}
{{- end -}}
{{- end -}}
{{- toYaml $parts -}}
{{- end -}}

{{/*
The rules' groups with the changes of alerts.*. They are parsed and written again,
and never go through the template engine, so {{ $labels }} stays as it is.
*/}}
{{- define "ginkgo-exporter.ruleGroups" -}}
{{- $pushed := include "ginkgo-exporter.pushedAlerts" . | fromJsonArray -}}
{{- $known := list -}}
{{- $groups := list -}}
{{- $parts := include "ginkgo-exporter.ruleParts" . | fromYaml -}}
{{- $matchers := join ", " .Values.alerts.selectors -}}
{{- $added := ternary (printf "%s, " $matchers) "" (ne $matchers "") -}}
{{- $alone := ternary (printf "{%s}" $matchers) "" (ne $matchers "") -}}
{{- range $path, $_ := .Files.Glob "files/rules/*.yml" -}}
{{- range $group := ($.Files.Get $path | fromYaml).groups -}}
{{- $rules := list -}}
{{- range $rule := $group.rules -}}
{{- $keep := true -}}
{{- $expr := $rule.expr | replace "{«selectors»}" $alone | replace "«selectors», " $added -}}
{{- range $name, $text := $parts -}}
{{- $expr = replace (printf "«%s»" $name) $text $expr -}}
{{- end -}}
{{- $_ := set $rule "expr" $expr -}}
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
{{- range $key, $text := $annotations -}}
{{- $text = replace "«for»" (dig "for" ($rule.for | default "") $change) $text -}}
{{- range $name, $part := $parts -}}
{{- $text = replace (printf "«%s»" $name) $part $text -}}
{{- end -}}
{{- $_ := set $annotations $key $text -}}
{{- end -}}
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
