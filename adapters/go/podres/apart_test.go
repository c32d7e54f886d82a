package podres

import (
	"testing"

	"google.golang.org/protobuf/proto"
	v1 "k8s.io/api/core/v1"

	placementv1 "basalt.io/adapters/placement/v1"
)

func TestApart(t *testing.T) {
	term := func(key string) *v1.Affinity {
		return &v1.Affinity{PodAntiAffinity: &v1.PodAntiAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []v1.PodAffinityTerm{{TopologyKey: key}}}}
	}
	spread := func(when v1.UnsatisfiableConstraintAction) []v1.TopologySpreadConstraint {
		return []v1.TopologySpreadConstraint{{TopologyKey: v1.LabelHostname, WhenUnsatisfiable: when}}
	}
	for name, test := range map[string]struct {
		spec            v1.PodSpec
		apart, relative bool
	}{
		"plain":            {v1.PodSpec{}, false, false},
		"anti-affinity":    {v1.PodSpec{Affinity: term(v1.LabelHostname)}, true, true},
		"another key":      {v1.PodSpec{Affinity: term("zone")}, false, true},
		"node affinity":    {v1.PodSpec{Affinity: &v1.Affinity{NodeAffinity: &v1.NodeAffinity{}}}, false, false},
		"spread":           {v1.PodSpec{TopologySpreadConstraints: spread(v1.DoNotSchedule)}, true, true},
		"spread if it can": {v1.PodSpec{TopologySpreadConstraints: spread(v1.ScheduleAnyway)}, false, true},
		"host port": {v1.PodSpec{Containers: []v1.Container{{Ports: []v1.ContainerPort{{ContainerPort: 1}}},
			{Ports: []v1.ContainerPort{{HostPort: 8265}}}}}, true, false},
	} {
		pod := &v1.Pod{Spec: test.spec}
		if Apart(pod) != test.apart || Relative(pod) != test.relative {
			t.Errorf("%s: apart %v, relative %v", name, Apart(pod), Relative(pod))
		}
	}
}

func TestSpreadIsOverTheWidestDomain(t *testing.T) {
	one, two, any := int32(1), int32(2), int32(anyTier)
	for name, test := range map[string]struct{ has, want *placementv1.LevelWish }{
		"no level":        {nil, &placementv1.LevelWish{Preferred: &any}},
		"required":        {&placementv1.LevelWish{Required: &two}, &placementv1.LevelWish{Required: &two, Preferred: &two}},
		"required, named": {&placementv1.LevelWish{RequiredName: "rack"}, &placementv1.LevelWish{RequiredName: "rack", PreferredName: "rack"}},
		"preferred":       {&placementv1.LevelWish{Preferred: &one}, &placementv1.LevelWish{Preferred: &one}},
	} {
		gang := &placementv1.GangRequest{Level: test.has}
		Spread(gang)
		if gang.Layout != placementv1.GangLayout_GANG_LAYOUT_SPREAD || !proto.Equal(gang.Level, test.want) {
			t.Errorf("%s: %v", name, gang)
		}
	}
}
