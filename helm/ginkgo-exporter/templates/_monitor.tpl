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

{{/* Metadata of an object of the Prometheus operator. Takes a list of the root and of the object's values. */}}
{{- define "ginkgo-exporter.crdMeta" -}}
{{- $root := index . 0 -}}
{{- $monitor := index . 1 -}}
name: {{ include "ginkgo-exporter.fullname" $root }}
namespace: {{ default $root.Release.Namespace $monitor.namespace }}
labels:
  {{- include "ginkgo-exporter.labels" (list $root $monitor.labels) | nindent 2 }}
{{- with $monitor.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
