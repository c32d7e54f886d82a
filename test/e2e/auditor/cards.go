// Package auditor judges a live cluster by what its API server holds and what device plugins really
// granted. It shares no code with the engine or its adapters: it reads the published formats of
// HAMi and Volcano by itself, so that one misreading cannot hide in both.
package auditor

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// Annotations of nodes and pods, as HAMi v2.10 and Volcano v1.14 write them.
const (
	hamiRegister    = "hami.io/node-nvidia-register"
	volcanoRegister = "volcano.sh/node-vgpu-register"
	hamiAllocated   = "hami.io/vgpu-devices-allocated"
	hamiNode        = "hami.io/vgpu-node"
	volcanoIDs      = "volcano.sh/vgpu-ids-new"
	volcanoNode     = "volcano.sh/vgpu-node"

	wholeCard   = "nvidia.com/gpu"
	hamiMemory  = "nvidia.com/gpumem"
	hamiCores   = "nvidia.com/gpucores"
	volcanoCard = "volcano.sh/vgpu-number"
	volcanoMem  = "volcano.sh/vgpu-memory"
	volcanoCore = "volcano.sh/vgpu-cores"
)

// Card is what a node says it has. Memory is MiB, cores are percent.
type Card struct {
	UUID    string
	Sharers int64
	Memory  int64
	Cores   int64
	Healthy bool
}

// Claim is one container's share of one card. Container counts init containers first.
type Claim struct {
	UUID      string
	Container int
	Memory    int64
	Cores     int64
}

// CardsOf reads a node's registration. A node without one has none here: its device plugin chooses
// by itself, and only counts can be audited.
func CardsOf(node *v1.Node) (map[string]Card, error) {
	cards := map[string]Card{}
	text, hami := node.Annotations[hamiRegister]
	if !hami {
		text = node.Annotations[volcanoRegister]
	}
	text = strings.TrimSpace(text)
	if text == "" {
		return cards, nil
	}
	if strings.HasPrefix(text, "[") {
		var list []struct {
			ID      string `json:"id"`
			Count   int64  `json:"count"`
			Memory  int64  `json:"devmem"`
			Cores   int64  `json:"devcore"`
			Healthy bool   `json:"health"`
		}
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			return nil, fmt.Errorf("node %s: %s: %w", node.Name, hamiRegister, err)
		}
		for _, item := range list {
			cards[item.ID] = Card{item.ID, item.Count, item.Memory, item.Cores, item.Healthy}
		}
		return cards, nil
	}
	for _, item := range strings.Split(strings.TrimSuffix(text, ":"), ":") {
		fields := strings.Split(item, ",")
		card := Card{UUID: fields[0], Cores: 100}
		var err error
		switch {
		case hami && (len(fields) == 9 || len(fields) == 7): // uuid,count,mem,core,type,numa,health
			card.Healthy = fields[6] == "true"
			card.Cores, err = strconv.ParseInt(fields[3], 10, 64)
		case !hami && len(fields) >= 6: // uuid,count,mem,type,health,mode
			card.Healthy = fields[4] == "true"
		default:
			err = fmt.Errorf("%d fields", len(fields))
		}
		if err == nil {
			card.Sharers, err = strconv.ParseInt(fields[1], 10, 64)
		}
		if err == nil {
			card.Memory, err = strconv.ParseInt(fields[2], 10, 64)
		}
		if err != nil {
			return nil, fmt.Errorf("node %s: card %q: %w", node.Name, item, err)
		}
		cards[card.UUID] = card
	}
	return cards, nil
}

// Asked is what a pod's containers ask of cards, by container, init containers first.
type Asked struct {
	Count  int64
	Memory int64 // MiB a card; 0: all of it
	Cores  int64 // percent a card; 0: not said
}

func askedOf(pod *v1.Pod) []Asked {
	var out []Asked
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			// Under the name itself or the name for one model ("nvidia.com/gpu-a100").
			get := func(name string) int64 {
				sum := int64(0)
				for resource, quantity := range list[i].Resources.Limits {
					model, ofModel := strings.CutPrefix(string(resource), name+"-")
					if string(resource) == name || (ofModel && model != "percentage") {
						sum += quantity.Value()
					}
				}
				return sum
			}
			one := Asked{get(wholeCard), get(hamiMemory), get(hamiCores)}
			if count := get(volcanoCard); count > 0 {
				one = Asked{count, get(volcanoMem), get(volcanoCore)}
			}
			out = append(out, one)
		}
	}
	return out
}

// AsksCards tells whether the pod asks any card.
func AsksCards(pod *v1.Pod) bool {
	for _, one := range askedOf(pod) {
		if one.Count > 0 {
			return true
		}
	}
	return false
}

// claimsOf reads what was assigned to the pod. `told` is false when nothing was written.
func claimsOf(pod *v1.Pod) (claims []Claim, told bool, err error) {
	if text, ok := pod.Annotations[hamiAllocated]; ok {
		// One slot a container, each ended by ';'.
		slots := strings.Split(text, ";")
		if slots[len(slots)-1] == "" {
			slots = slots[:len(slots)-1]
		}
		first := 0
		if init := len(pod.Spec.InitContainers); init > 0 && len(slots) == len(pod.Spec.Containers) {
			first = init // HAMi to v2.7: none for init containers
		}
		for i, slot := range slots {
			got, err := parseDevices(slot, first+i)
			if err != nil {
				return nil, true, fmt.Errorf("%s: %w", hamiAllocated, err)
			}
			claims = append(claims, got...)
		}
		return claims, true, nil
	}
	text, ok := pod.Annotations[volcanoIDs]
	if !ok {
		return nil, false, nil
	}
	// One entry for each container that asks cards, joined by ';'.
	var asking []int
	for container, one := range askedOf(pod) {
		if one.Count > 0 && container >= len(pod.Spec.InitContainers) {
			asking = append(asking, container)
		}
	}
	for i, slot := range strings.Split(text, ";") {
		if i >= len(asking) {
			return nil, true, fmt.Errorf("%s: more entries than containers that ask", volcanoIDs)
		}
		got, err := parseDevices(slot, asking[i])
		if err != nil {
			return nil, true, fmt.Errorf("%s: %w", volcanoIDs, err)
		}
		claims = append(claims, got...)
	}
	return claims, true, nil
}

func parseDevices(slot string, container int) ([]Claim, error) {
	var out []Claim
	for _, item := range strings.Split(strings.TrimSuffix(slot, ":"), ":") {
		if item == "" {
			continue
		}
		fields := strings.Split(item, ",")
		if len(fields) < 4 {
			return nil, fmt.Errorf("device %q has %d fields", item, len(fields))
		}
		memory, err := strconv.ParseInt(fields[2], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("device %q: %w", item, err)
		}
		cores, err := strconv.ParseInt(fields[3], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("device %q: %w", item, err)
		}
		out = append(out, Claim{fields[0], container, memory, cores})
	}
	return out, nil
}
