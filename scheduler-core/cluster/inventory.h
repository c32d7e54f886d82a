// What a cluster is made of, as callers describe it: nodes and their cards. Observations about
// capacity live here; what is taken lives in ClusterState.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "scheduler-core/base/ids.h"
#include "scheduler-core/base/result.h"
#include "scheduler-core/base/units.h"
#include "scheduler-core/workload/request.h"
#include "topology/network.h"
#include "topology/numa.h"

namespace basalt {

// How a card is handed out: in slices, to one pod at a time, in MIG instances (by the rules of its
// model; without rules it takes nothing), or whole to a virtual machine.
enum class CardMode : std::uint8_t { kShared, kExclusive, kMig, kPassthrough };

struct CardSpec {
  std::string uuid;  // empty: "<node>/<index>"
  std::string model;
  MiB memory_mib = 0;  // 0: unknown, then memory on the card is not scheduled
  MilliGpu compute_milli = kWholeCard;
  std::int32_t slots = 0;  // share slots; 0: as many as fit
  std::int32_t numa = -1;  // NUMA node, -1 unknown
  CardMode mode = CardMode::kShared;
  // Memory that may be handed out, in percent of memory_mib, 100..200. Guaranteed requests together
  // never get more than 100. Compute and slots are oversubscribed by their own numbers.
  std::int32_t memory_ratio_percent = 100;
  std::int32_t group = -1;  // module, HCCS network, link zone or wing; -1: CardRules::group_size
  friend auto operator<=>(const CardSpec&, const CardSpec&) = default;
};

struct NodeSpec {
  std::string name;        // unique in the cluster
  std::int64_t rank = -1;  // tie order, the smaller wins; -1: after all that came before
  MilliCpu cpu_milli = 0;
  MiB memory_mib = 0;
  std::int32_t max_pods = 0;  // 0: no limit
  std::int32_t numa_nodes = 1;
  std::vector<LabelRequirement> labels;
  std::vector<std::string> taints;  // keys; a pod must tolerate each
  std::vector<CardSpec> cards;      // at most 64
  // How the cards are wired: a machine description (topology/synthetic.h); empty: unknown. Its card
  // i is cards[i]. Cards whose NUMA node is unknown take the machine's.
  std::string machine;
  topology::NetworkPath network;  // narrow to wide; what is unknown is left out
  // kubelet's Topology Manager on this node. CPU and memory are divided evenly over the NUMA nodes
  // unless `numa` says what each has (cards and nics in it are ignored).
  topology::NumaPolicy numa_policy = topology::NumaPolicy::kNone;
  topology::NumaScope numa_scope = topology::NumaScope::kContainer;
  std::vector<topology::NumaAmounts> numa;
  friend auto operator<=>(const NodeSpec&, const NodeSpec&) = default;
};

inline constexpr std::size_t kMaxMachineText = 4096;
inline constexpr std::size_t kMaxListedSlices = 4096;  // of one pod

Status ValidateNode(const NodeSpec& spec, const std::string& where);

// One container's part of one card, where that is not what the shape asks of every card.
struct SliceTake {
  std::int8_t card = 0;
  std::int8_t container = 0;
  std::int8_t mig_profile = -1;  // and its first slot
  std::int8_t mig_start = -1;
  std::int16_t milli = 0;
  std::int32_t memory = 0;  // MiB
  bool whole = false;
  friend bool operator==(const SliceTake&, const SliceTake&) = default;
};

// What a planned pod holds beside the amounts of its shape: on NUMA nodes, where it is aligned to
// them (by NUMA node), and slice by slice, where slices differ or are MIG instances.
struct NumaTake {
  std::vector<SliceTake> slices;  // empty: on each card what the shape asks
  topology::NumaSet nodes = 0;    // the hint it was admitted with; 0: best-effort found none
  std::uint32_t nics = 0;         // bit i: the node's i-th NIC
  std::array<std::int32_t, topology::kMaxNumaNodes> cpu{};     // milli-cores
  std::array<std::int32_t, topology::kMaxNumaNodes> memory{};  // MiB
  friend bool operator==(const NumaTake&, const NumaTake&) = default;
};

// Nodes that no request can tell apart by name-like properties: same card models in the same
// order, same taints, and the same values of the label keys that requests use. Feasibility by
// model, label and taint is decided once a class, not once a node.
struct NodeClass {
  std::vector<ModelId> card_models;      // one entry a card
  std::vector<std::string> taints;       // sorted
  std::vector<LabelRequirement> labels;  // projected on the used keys, sorted
  bool mixed = false;                    // cards of more than one model
  bool has_memory = false;               // some card's memory is known
  friend auto operator<=>(const NodeClass&, const NodeClass&) = default;
};

}  // namespace basalt
