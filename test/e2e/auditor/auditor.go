package auditor

import (
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Violation is a promise that was seen broken.
type Violation struct {
	At   time.Time
	Node string
	Text string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s node %s: %s", v.At.Format("15:04:05.000"), v.Node, v.Text)
}

// Auditor holds the latest objects and recomputes a node's cards from nothing after every event
// that touches it. Safe for concurrent use.
type Auditor struct {
	mutex      sync.Mutex
	nodes      map[string]*v1.Node
	pods       map[types.UID]*v1.Pod
	byNode     map[string]map[types.UID]bool
	grants     map[types.UID][]Claim
	gone       map[types.UID]bool
	events     int64
	violations []Violation
	said       map[string]bool
}

func New() *Auditor {
	return &Auditor{
		nodes:  map[string]*v1.Node{},
		pods:   map[types.UID]*v1.Pod{},
		byNode: map[string]map[types.UID]bool{},
		grants: map[types.UID][]Claim{},
		gone:   map[types.UID]bool{},
		said:   map[string]bool{},
	}
}

// holds tells whether the pod occupies its node: from its binding until it has ended or is gone. A
// pod that is being deleted holds what it has until it is gone.
func holds(pod *v1.Pod) bool {
	return pod.Spec.NodeName != "" && pod.Status.Phase != v1.PodSucceeded &&
		pod.Status.Phase != v1.PodFailed
}

// Node takes a node as it is now; PodIs a pod, NodeGone and PodGone their ends.
func (a *Auditor) Node(node *v1.Node) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.events++
	a.nodes[node.Name] = node
	a.check(node.Name)
}

func (a *Auditor) NodeGone(name string) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.events++
	delete(a.nodes, name)
}

func (a *Auditor) PodIs(pod *v1.Pod) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.events++
	before := a.pods[pod.UID]
	if before != nil && before.Spec.NodeName != "" && before.Spec.NodeName != pod.Spec.NodeName {
		a.report(pod.Spec.NodeName, "pod %s moved here from node %s", name(pod), before.Spec.NodeName)
	}
	a.pods[pod.UID] = pod
	if pod.Spec.NodeName == "" {
		return
	}
	if a.byNode[pod.Spec.NodeName] == nil {
		a.byNode[pod.Spec.NodeName] = map[types.UID]bool{}
	}
	a.byNode[pod.Spec.NodeName][pod.UID] = true
	a.check(pod.Spec.NodeName)
}

func (a *Auditor) PodGone(uid types.UID) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.events++
	a.gone[uid] = true
	pod := a.pods[uid]
	if pod == nil {
		return
	}
	delete(a.pods, uid)
	delete(a.grants, uid)
	delete(a.byNode[pod.Spec.NodeName], uid)
}

// Granted takes what a node's device plugin really gave to one container of a pod. A container that
// starts anew is told anew.
func (a *Auditor) Granted(pod *v1.Pod, container int, claims []Claim) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.events++
	if a.gone[pod.UID] {
		return // the plugin's word came after the pod's end
	}
	var kept []Claim
	for _, claim := range a.grants[pod.UID] {
		if claim.Container != container {
			kept = append(kept, claim)
		}
	}
	a.grants[pod.UID] = append(kept, claims...)
	if _, known := a.pods[pod.UID]; !known {
		a.pods[pod.UID] = pod
		if a.byNode[pod.Spec.NodeName] == nil {
			a.byNode[pod.Spec.NodeName] = map[types.UID]bool{}
		}
		a.byNode[pod.Spec.NodeName][pod.UID] = true
	}
	a.check(pod.Spec.NodeName)
}

// Violations are all that were seen so far, each once.
func (a *Auditor) Violations() []Violation {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return append([]Violation(nil), a.violations...)
}

// Events is how many events were judged.
func (a *Auditor) Events() int64 {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.events
}

// Holders are the pods that ask cards and hold their node.
func (a *Auditor) Holders() []*v1.Pod {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	var out []*v1.Pod
	for _, pod := range a.pods {
		if holds(pod) && AsksCards(pod) {
			out = append(out, pod)
		}
	}
	sort.Slice(out, func(i, j int) bool { return name(out[i]) < name(out[j]) })
	return out
}

// CardsUsed maps the cards in use to the names of their pods, by what was written to the pods.
func (a *Auditor) CardsUsed() map[string][]string {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	used := map[string][]string{}
	for _, pod := range a.pods {
		if !holds(pod) {
			continue
		}
		claims, _, _ := claimsOf(pod)
		seen := map[string]bool{}
		for _, claim := range claims {
			if !seen[claim.UUID] {
				seen[claim.UUID] = true
				used[claim.UUID] = append(used[claim.UUID], name(pod))
			}
		}
	}
	return used
}

// Grants counts the cards that plugins gave to containers of pods with the label; "": of all pods.
func (a *Auditor) Grants(key, value string) int {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	count := 0
	for uid, claims := range a.grants {
		if pod := a.pods[uid]; pod != nil && (key == "" || pod.Labels[key] == value) {
			count += len(claims)
		}
	}
	return count
}

// Gangs checks at rest: of a gang none runs, or at least its minimum. `group` names a pod's gang,
// empty for none; `minimum` is its least number.
func (a *Auditor) Gangs(group func(*v1.Pod) string, minimum func(string) int) []Violation {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	bound := map[string]int{}
	for _, pod := range a.pods {
		if gang := group(pod); gang != "" && pod.Spec.NodeName != "" {
			bound[gang]++
		}
	}
	var out []Violation
	for gang, count := range bound {
		if least := minimum(gang); count < least {
			out = append(out, Violation{time.Now(), "",
				fmt.Sprintf("gang %s has %d of its %d pods bound", gang, count, least)})
		}
	}
	return out
}

func name(pod *v1.Pod) string { return pod.Namespace + "/" + pod.Name }

func (a *Auditor) report(node, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if a.said[node+"\x00"+text] {
		return
	}
	a.said[node+"\x00"+text] = true
	a.violations = append(a.violations, Violation{time.Now(), node, text})
}

type use struct {
	pods      []string
	memory    int64
	cores     int64
	exclusive bool
}

// check recomputes one node.
func (a *Auditor) check(nodeName string) {
	node := a.nodes[nodeName]
	if node == nil {
		return // told later; then it is checked
	}
	cards, err := CardsOf(node)
	if err != nil {
		a.report(nodeName, "%v", err)
		return
	}
	written, granted := map[string]*use{}, map[string]*use{}
	requested := v1.ResourceList{}
	pods := int64(0)
	for uid := range a.byNode[nodeName] {
		pod := a.pods[uid]
		if pod == nil || !holds(pod) {
			continue
		}
		pods++
		addRequests(requested, pod)
		claims, told, err := claimsOf(pod)
		if err != nil {
			a.report(nodeName, "pod %s: %v", name(pod), err)
			continue
		}
		if len(cards) > 0 && AsksCards(pod) {
			a.checkClaims(node, pod, claims, told)
		}
		a.addUse(written, cards, nodeName, pod, claims)
		a.addUse(granted, cards, nodeName, pod, a.grants[uid])
		a.checkGrants(nodeName, pod, claims, a.grants[uid])
	}
	a.checkCards(nodeName, "assigned", cards, written)
	a.checkCards(nodeName, "granted", cards, granted)
	for resource, quantity := range requested {
		// What a node does not count (HAMi's memory and cores) kubelet does not check either.
		if have, ok := node.Status.Allocatable[resource]; ok && quantity.Cmp(have) > 0 {
			a.report(nodeName, "%s of %s are requested, %s are there", quantity.String(), resource,
				have.String())
		}
	}
	if most, ok := node.Status.Allocatable[v1.ResourcePods]; ok && pods > most.Value() {
		a.report(nodeName, "%d pods are here, %d may be", pods, most.Value())
	}
}

// checkClaims holds a pod's assignment against what it asked.
func (a *Auditor) checkClaims(node *v1.Node, pod *v1.Pod, claims []Claim, told bool) {
	if !told {
		a.report(node.Name, "pod %s is bound and no card is assigned to it", name(pod))
		return
	}
	for _, key := range []string{hamiNode, volcanoNode} {
		if at, ok := pod.Annotations[key]; ok && at != node.Name {
			a.report(node.Name, "pod %s is bound here, and assigned to node %s", name(pod), at)
		}
	}
	for container, asked := range askedOf(pod) {
		got := map[string]bool{}
		for _, claim := range claims {
			if claim.Container != container {
				continue
			}
			if got[claim.UUID] {
				a.report(node.Name, "pod %s: container %d has card %s twice", name(pod), container,
					claim.UUID)
			}
			got[claim.UUID] = true
			if claim.Memory < asked.Memory || claim.Cores < asked.Cores {
				a.report(node.Name, "pod %s: container %d asked %d MiB and %d %%, and has %d and %d",
					name(pod), container, asked.Memory, asked.Cores, claim.Memory, claim.Cores)
			}
		}
		if int64(len(got)) != asked.Count {
			a.report(node.Name, "pod %s: container %d asked %d cards, and has %d", name(pod), container,
				asked.Count, len(got))
		}
	}
}

// checkGrants holds what the plugin gave against what was assigned.
func (a *Auditor) checkGrants(node string, pod *v1.Pod, claims, grants []Claim) {
	assigned := map[Claim]bool{}
	for _, claim := range claims {
		assigned[claim] = true
	}
	for _, grant := range grants {
		if !assigned[grant] {
			a.report(node, "pod %s: the plugin gave card %s (%d MiB, %d %%) to container %d, which is not what was assigned",
				name(pod), grant.UUID, grant.Memory, grant.Cores, grant.Container)
		}
	}
}

// addUse adds one pod's claims: on each card the most that its init containers or all its other
// containers take, for they do not run together.
func (a *Auditor) addUse(uses map[string]*use, cards map[string]Card, node string, pod *v1.Pod, claims []Claim) {
	type pair struct{ init, app Claim }
	mine := map[string]*pair{}
	exclusive := map[string]bool{}
	for _, claim := range claims {
		if len(cards) > 0 {
			card, known := cards[claim.UUID]
			if !known {
				a.report(node, "pod %s has card %s, which is not here", name(pod), claim.UUID)
			}
			exclusive[claim.UUID] = exclusive[claim.UUID] || (card.Cores == 100 && claim.Cores >= 100)
		}
		one := mine[claim.UUID]
		if one == nil {
			one = &pair{}
			mine[claim.UUID] = one
		}
		if claim.Container < len(pod.Spec.InitContainers) {
			one.init.Memory = max(one.init.Memory, claim.Memory)
			one.init.Cores = max(one.init.Cores, claim.Cores)
		} else {
			one.app.Memory += claim.Memory
			one.app.Cores += claim.Cores
		}
	}
	for uuid, one := range mine {
		total := uses[uuid]
		if total == nil {
			total = &use{}
			uses[uuid] = total
		}
		total.pods = append(total.pods, name(pod))
		total.memory += max(one.init.Memory, one.app.Memory)
		total.cores += max(one.init.Cores, one.app.Cores)
		total.exclusive = total.exclusive || exclusive[uuid]
	}
}

func (a *Auditor) checkCards(node, what string, cards map[string]Card, uses map[string]*use) {
	for uuid, used := range uses {
		card, known := cards[uuid]
		if !known {
			continue
		}
		sort.Strings(used.pods)
		who := strings.Join(used.pods, ", ")
		if used.memory > card.Memory {
			a.report(node, "card %s: %d MiB of %d are %s, to %s", uuid, used.memory, card.Memory, what, who)
		}
		if used.cores > card.Cores {
			a.report(node, "card %s: %d %% of %d are %s, to %s", uuid, used.cores, card.Cores, what, who)
		}
		if int64(len(used.pods)) > card.Sharers {
			a.report(node, "card %s: %d pods of %d share it (%s), %s", uuid, len(used.pods), card.Sharers,
				what, who)
		}
		if used.exclusive && len(used.pods) > 1 {
			a.report(node, "card %s is %s whole and shared, to %s", uuid, what, who)
		}
	}
}

// addRequests adds what the pod takes of the node: the larger of its containers together and any
// init container.
func addRequests(sum v1.ResourceList, pod *v1.Pod) {
	mine := v1.ResourceList{}
	for i := range pod.Spec.Containers {
		for resource, quantity := range pod.Spec.Containers[i].Resources.Requests {
			total := mine[resource]
			total.Add(quantity)
			mine[resource] = total
		}
	}
	for i := range pod.Spec.InitContainers {
		for resource, quantity := range pod.Spec.InitContainers[i].Resources.Requests {
			if have := mine[resource]; quantity.Cmp(have) > 0 {
				mine[resource] = quantity
			}
		}
	}
	for resource, quantity := range mine {
		total := sum[resource]
		total.Add(quantity)
		sum[resource] = total
	}
}
