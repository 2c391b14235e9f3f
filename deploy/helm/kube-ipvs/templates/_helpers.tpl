{{- define "kube-ipvs.labels" -}}
app.kubernetes.io/name: kube-ipvs
{{- end }}

{{- define "kube-ipvs.image" -}}
{{- with .Values.image }}
{{- .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* The port at the end of an ADDRESS:PORT. */}}
{{- define "kube-ipvs.port" -}}
{{ regexFind "[0-9]+$" . }}
{{- end }}

{{/* The host part of an ADDRESS:PORT, and nothing where that is all addresses. */}}
{{- define "kube-ipvs.host" -}}
{{- $host := regexReplaceAll ":[0-9]+$" . "" | trimPrefix "[" | trimSuffix "]" -}}
{{- if not (has $host (list "0.0.0.0" "::")) }}{{ $host }}{{ end -}}
{{- end }}

{{/* Where metrics are served; with monitoring where Prometheus reaches them. */}}
{{- define "kube-ipvs.metrics" -}}
{{ get .Values.config "metrics-bind-address" | default ":10349" }}
{{- end }}
