// Importers of a live cluster, from what `kubectl get ... -o json` prints: Lists and single
// objects, any kind in any of the files.
//
// k8s: Nodes and Pods. A pod becomes a job "namespace/name" with one task "pod" of one replica; a
// bound one is also a placement.
//
// volcano: besides them Volcano's Jobs (batch.volcano.sh), PodGroups and Queues
// (scheduling.volcano.sh). A Job becomes a job with its tasks; its pods are placements of it. Pods
// of a PodGroup that no Job owns are one job, with a task for each kind of request among them; a
// PodGroup that has no pods is minMember equal parts of its minResources.
#pragma once

#include "traces/diagnostics.h"
#include "traces/source.h"
#include "traces/trace.h"

namespace basalt::trace {

Trace ParseK8s(const SourceTexts& texts, Diagnostics* diagnostics);
Trace ParseVolcano(const SourceTexts& texts, Diagnostics* diagnostics);

}  // namespace basalt::trace
