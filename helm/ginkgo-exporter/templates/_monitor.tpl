{{/* The endpoint of both kinds of monitor. Takes a list of the root, the monitor's values and further relabelling. */}}
{{- define "ginkgo-exporter.endpoint" -}}
{{- $root := index . 0 -}}
{{- $monitor := index . 1 -}}
{{- $endpoint := dict "port" "http" "path" (dig "web" "telemetry-path" "/metrics" $root.Values.config) "scheme" $root.Values.web.scheme -}}
{{- range $key := list "interval" "scrapeTimeout" "tlsConfig" "basicAuth" "metricRelabelings" -}}
{{- with get $monitor $key -}}
{{- $_ := set $endpoint $key . -}}
{{- end -}}
{{- end -}}
{{- with concat (index . 2) $monitor.relabelings -}}
{{- $_ := set $endpoint "relabelings" . -}}
{{- end -}}
{{- list $endpoint | toYaml -}}
{{- end -}}
