package podres

import (
	v1 "k8s.io/api/core/v1"

	placementv1 "basalt.io/adapters/placement/v1"
)

// Apart says that pods like this one should be on as many nodes as they can: the pod keeps others off
// its node by required anti-affinity, a spread constraint or a host port. The engine does not read
// these; it spreads a gang of such pods, and the scheduler's own predicates have the last word.
func Apart(pod *v1.Pod) bool {
	if affinity := pod.Spec.Affinity; affinity != nil && affinity.PodAntiAffinity != nil {
		for _, term := range affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			if term.TopologyKey == v1.LabelHostname {
				return true
			}
		}
	}
	for _, constraint := range pod.Spec.TopologySpreadConstraints {
		if constraint.TopologyKey == v1.LabelHostname && constraint.WhenUnsatisfiable == v1.DoNotSchedule {
			return true
		}
	}
	for i := range pod.Spec.Containers {
		for _, port := range pod.Spec.Containers[i].Ports {
			if port.HostPort != 0 {
				return true
			}
		}
	}
	return false
}

// Relative says that where the pod may go depends on where others are.
func Relative(pod *v1.Pod) bool {
	affinity := pod.Spec.Affinity
	return len(pod.Spec.TopologySpreadConstraints) > 0 ||
		(affinity != nil && (affinity.PodAffinity != nil || affinity.PodAntiAffinity != nil))
}

// anyTier is the server's number for the whole cluster (kAnyTier).
const anyTier = 17

// Spread asks for a gang of pods that must be apart: over as many nodes as there are in the widest
// domain that it may have. The tightest one might have too few.
func Spread(gang *placementv1.GangRequest) {
	gang.Layout = placementv1.GangLayout_GANG_LAYOUT_SPREAD
	level := gang.GetLevel()
	switch {
	case level == nil:
		widest := int32(anyTier)
		gang.Level = &placementv1.LevelWish{Preferred: &widest}
	case level.Preferred != nil || level.PreferredName != "":
	case level.Required != nil:
		level.Preferred = level.Required
	default:
		level.PreferredName = level.RequiredName
	}
}
