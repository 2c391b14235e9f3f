{{- define "kube-ipvs.labels" -}}
app.kubernetes.io/name: kube-ipvs
{{- end }}

{{- define "kube-ipvs.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* The port at the end of an ADDRESS:PORT. */}}
{{- define "kube-ipvs.port" -}}
{{ regexFind "[0-9]+$" . }}
{{- end }}

{{/* Where metrics are served; with monitoring where Prometheus reaches them. */}}
{{- define "kube-ipvs.metrics" -}}
{{ get .Values.config "metrics-bind-address" | default ":10349" }}
{{- end }}
