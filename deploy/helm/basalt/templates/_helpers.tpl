{{- define "basalt.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "basalt.labels" -}}
app.kubernetes.io/name: basalt
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "basalt.tag" -}}
{{- .Values.image.tag | default .Chart.AppVersion -}}
{{- end -}}

{{- /* Address of the engine, as its certificate names it. */ -}}
{{- define "basalt.host" -}}
{{- include "basalt.name" . }}-engine.{{ .Release.Namespace }}.svc
{{- end -}}

{{- /* No user, no capability, no writable root. */ -}}
{{- define "basalt.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}
{{- define "basalt.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* What runs: "true" or nothing. A shadow is the engine and basalt-sync alone. */ -}}
{{- define "basalt.runsKubeScheduler" -}}
{{- if and .Values.kubeScheduler.enabled (not .Values.shadow) -}}true{{- end -}}
{{- end -}}
{{- define "basalt.runsVolcano" -}}
{{- if and .Values.volcano.enabled (not .Values.shadow) -}}true{{- end -}}
{{- end -}}
{{- define "basalt.runsSync" -}}
{{- if or .Values.sync.enabled .Values.shadow -}}true{{- end -}}
{{- end -}}

{{- /* Which process tells the engine what the cluster has: exactly one. */ -}}
{{- define "basalt.checkSources" -}}
{{- if and (include "basalt.runsVolcano" .) (not (include "basalt.runsSync" .)) -}}
{{- fail "Volcano's scheduler does not tell the engine nodes and pods: set sync.enabled" -}}
{{- end -}}
{{- if not (or (include "basalt.runsSync" .) (include "basalt.runsKubeScheduler" .)) -}}
{{- fail "nobody tells the engine nodes and pods: enable sync or kubeScheduler" -}}
{{- end -}}
{{- end -}}
