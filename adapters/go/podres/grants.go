package podres

import (
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"

	placementv1 "basalt.io/adapters/placement/v1"
)

const maxCards = 64

// Cards that our own bind wrote on the pod, each once; nil: none, or more than a node may have.
func Cards(pod *v1.Pod) []string {
	var out []string
	for _, uuid := range strings.Split(pod.Annotations[CardsAnnotation], ",") {
		if uuid = strings.TrimSpace(uuid); uuid != "" && !slices.Contains(out, uuid) {
			out = append(out, uuid)
		}
	}
	if len(out) > maxCards {
		return nil
	}
	return out
}

// BindMetadata is what must be on the pod from the moment it has a node: the assignment in the
// device plugin's words and the cards in ours. Put it on the Binding: the API server writes it and
// the node in one step. Both maps may be written to by the caller.
func BindMetadata(place *placementv1.Place) (annotations, labels map[string]string) {
	annotations, labels = map[string]string{}, map[string]string{}
	assignment := place.GetAssignment()
	for key, value := range assignment.GetAnnotations() {
		annotations[key] = value
	}
	for key, value := range assignment.GetLabels() {
		labels[key] = value
	}
	// A card without a name cannot be found again: then nothing is said, and the server takes what
	// it is told otherwise.
	if uuids := place.GetCardUuids(); len(uuids) > 0 && !slices.Contains(uuids, "") {
		annotations[CardsAnnotation] = strings.Join(uuids, ",")
		annotations[EnforcedAnnotation] = strconv.FormatBool(assignment.GetEnforced())
	}
	return annotations, labels
}
