{{/* Labels that select Tangram's pods. */}}
{{- define "tangram.labels" -}}
app.kubernetes.io/name: tangram
app.kubernetes.io/component: scheduler
{{- end }}

{{/* Labels that select the agent's pods. */}}
{{- define "tangram.agentLabels" -}}
app.kubernetes.io/name: tangram
app.kubernetes.io/component: agent
{{- end }}

{{/* Not while the GPU Operator wants the driver for itself. */}}
{{- define "tangram.agentMayUseDriver" -}}
- key: nvidia.com/gpu.deploy.client
  operator: NotIn
  values: [paused-for-driver-upgrade, paused-for-mig-change]
{{- end }}

{{/* The image of everything that is Tangram. */}}
{{- define "tangram.image" -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
{{- end }}

{{/* Objects written down once, for kustomize and for this chart: a file of files/, in the release's namespace.
     Takes (list $ PATH). */}}
{{- define "tangram.file" -}}
{{- $root := index . 0 -}}
---
{{ $root.Files.Get (printf "files/%s" (index . 1)) | required (printf "the chart lacks files/%s" (index . 1)) | replace "tangram-system" $root.Release.Namespace }}
{{- end }}

{{/* What every container may: nothing. */}}
{{- define "tangram.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Configuration of `tangram serve`: the shape's, and over it the values. */}}
{{- define "tangram.config" -}}
{{- $shipped := .Files.Get (printf "files/kustomize/overlays/%s/config.yaml" .Values.shape) | fromYaml -}}
{{- mergeOverwrite $shipped (deepCopy .Values.config) | toYaml }}
{{- end }}

{{/* The KubeSchedulerConfiguration of the second scheduler. */}}
{{- define "tangram.schedulerConfig" -}}
{{- .Values.scheduler.config | default (.Files.Get "files/scheduler-config/secondary.yaml") | replace "tangram-system" .Release.Namespace }}
{{- end }}
