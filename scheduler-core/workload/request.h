// What a pod asks for. A RequestSpec is what callers write (names, units); a Shape is the interned
// form that decisions use: two requests with the same shape are the same question, so everything a
// policy learns about one holds for the other. Who asks (uid, attempt, job) is kept apart, in
// Request, and never enters a shape.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/base/digest.h"
#include "scheduler-core/base/ids.h"
#include "scheduler-core/base/result.h"
#include "scheduler-core/base/units.h"
#include "scheduler-core/cluster/card_rules.h"
#include "scheduler-core/workload/node_choice.h"
#include "scheduler-core/workload/standing.h"
#include "topology/numa.h"

namespace basalt {

struct LabelRequirement {
  std::string key;
  std::string value;
  friend auto operator<=>(const LabelRequirement&, const LabelRequirement&) = default;
};

// One container's part of a pod: what NUMA alignment with scope `container` aligns by itself, and
// its slices where containers ask for different ones.
struct ContainerSpec {
  MilliCpu cpu_milli = 0;
  MiB memory_mib = 0;
  std::int32_t gpus = 0;
  std::int32_t nics = 0;
  // On each of its cards, as in RequestSpec. When one container says it, each with cards must, and
  // the pod says nothing. Two containers may then share a card; one never has two slices of one.
  MilliGpu gpu_milli = 0;
  MiB gpu_memory_mib = 0;
  std::int32_t gpu_memory_percent = 0;
  std::int32_t compute_units = 0;
  bool asks_card() const {
    return gpu_milli > 0 || gpu_memory_mib > 0 || gpu_memory_percent > 0 || compute_units > 0;
  }
  friend auto operator<=>(const ContainerSpec&, const ContainerSpec&) = default;
};

// Which memory a pod may be given. Guaranteed ones only memory that is physically there, however
// far a card is oversubscribed; the others also what is oversubscribed.
enum class ServiceClass : std::uint8_t { kGuaranteed, kBurstable, kBestEffort };
std::string_view ServiceClassName(ServiceClass service_class);
Result<ServiceClass> ParseServiceClass(std::string_view name);

inline constexpr std::string_view kDefaultQos = "best-effort";  // MetaX's webhook says so too

struct RequestSpec {
  MilliCpu cpu_milli = 0;
  MiB memory_mib = 0;
  std::int32_t gpus = 0;  // distinct cards, 0..64
  // Compute on each card, 0..1000. 1000: the card for itself. 0 with cards: memory, units, a MIG
  // profile or the containers say what is wanted of them.
  MilliGpu gpu_milli = 0;
  MiB gpu_memory_mib = 0;  // memory on each card; the larger of this and the percentage holds
  std::int32_t gpu_memory_percent = 0;          // of each card's memory, 0..100
  std::vector<std::string> models;              // allowed card models; empty: any
  std::vector<LabelRequirement> node_selector;  // all must match
  std::vector<std::string> tolerations;         // taint keys that the pod accepts
  // All-reduce bandwidth that the cards must have together, MB/s; 0: no wish. Required: a node
  // whose machine type is unknown does not fit. Preferred: such cards first, else the best.
  std::int32_t min_bandwidth_mbps = 0;
  bool bandwidth_required = false;
  std::int32_t nics = 0;  // whole NICs of the node, 0..32
  // The pod's own wish; the stricter of this and the node's Topology Manager policy holds.
  topology::NumaPolicy numa = topology::NumaPolicy::kNone;
  std::vector<ContainerSpec> containers;  // empty: one container; else they add up to the pod
  // Compute on each card in CardRules::compute_units, for requests that may land on any model;
  // then gpu_milli is 0.
  std::int32_t compute_units = 0;
  std::vector<std::string> vendors;       // allowed vendors of cards; empty: any
  std::vector<std::string> nouse_models;  // never these
  std::vector<std::string> use_uuids;     // only these cards; empty: any
  std::vector<std::string> nouse_uuids;   // never these
  ServiceClass service_class = ServiceClass::kGuaranteed;
  // Card memory may be oversubscribed up to this percent for the pod (its queue's limit); 0: as
  // far as the card is.
  std::int32_t memory_ratio_percent = 0;
  std::string qos;           // class on cards whose slices must have one; empty: kDefaultQos
  std::string mig_profile;   // this MIG profile and no other card; empty: the smallest that serves
  bool passthrough = false;  // whole cards of the passthrough pool (virtual machines)
  friend auto operator<=>(const RequestSpec&, const RequestSpec&) = default;
};

// The largest amount of CPU (milli-cores), host memory or card memory (MiB) of one request or node:
// a million cores, or a petabyte. Sums of free amounts then fit 32 bits with room to go negative.
inline constexpr std::int64_t kMaxAmount = 1'000'000'000;
inline constexpr int kMaxNicsPerNode = 32;
inline constexpr int kMaxMemoryRatio = 200;  // percent of a card's memory that may be handed out
inline constexpr std::size_t kMaxContainers = 64;

// Refuses what no cluster could mean: negative amounts, milli out of range, more than 64 cards,
// compute without cards. `where` is put in front of the message.
Status ValidateRequest(const RequestSpec& spec, const std::string& where);

// What kind of GPU work a node runs; gpu-clustering groups by it. Whole-card kinds are by number
// of cards: 1..8 apart, more than 8 together.
inline constexpr int kWorkloadKinds = 10;
inline constexpr int kNoGpuKind = -1;
inline constexpr int kShareKind = 0;

struct Shape {
  RequestSpec spec;
  // The same numbers in the widths of the state's columns.
  std::int32_t cpu = 0;
  std::int32_t memory = 0;
  std::int32_t gpus = 0;
  std::int32_t milli = 0;
  std::int32_t card_memory = 0;
  std::int32_t card_memory_percent = 0;
  int kind = kNoGpuKind;
  bool asks_card_memory = false;  // false: compute alone decides whether a card fits
  bool whole = false;             // takes whole cards: milli == 1000
  std::int32_t nics = 0;
  // NUMA, NICs or a required bandwidth: the cards are planned together, not one by one.
  bool planned = false;
  CardAsk ask;                          // of each card, where containers do not ask by themselves
  std::vector<CardAsk> container_asks;  // by container; empty: all slices are `ask`
  bool picks_uuids = false;
  // Free compute is all that counts on a node whose cards are plain (NodeHot::complex is false).
  bool plain = true;
  std::int32_t ratio_percent = 0;     // RequestSpec::memory_ratio_percent
  std::uint8_t qos = 0;               // 0: kDefaultQos
  std::int32_t milli_sum = 0;         // over all slices
  std::vector<std::uint8_t> serving;  // by ModelId: models that the request may have
  std::int32_t total_milli() const { return milli_sum; }
  // The pod's slices are planned together, and listed in what it takes.
  bool lists_slices() const { return !container_asks.empty(); }
};

// "2 x 1000m T4|A10, 12 CPU, 48 GiB": what messages and reports call a shape. Not all of it is
// said: two shapes may read alike.
std::string Describe(const RequestSpec& spec);
// Absorbs every field: specs that differ have different digests.
void AddTo(const RequestSpec& spec, Digest* digest);

// A pod's identity: its UID (a UUID, or any 128-bit hash of a name).
struct PodUid {
  std::uint64_t hi = 0;
  std::uint64_t lo = 0;
  friend constexpr auto operator<=>(const PodUid&, const PodUid&) = default;
};
PodUid PodUidFromName(std::string_view name);
std::string UidText(const PodUid& uid);  // 32 hexadecimal digits

struct Request {
  PodUid uid;
  std::uint32_t attempt = 0;  // a new attempt may allocate again once the earlier one is gone
  ShapeId shape;
  std::uint64_t job = 0;  // 0: no job. Only policies with a job term read it.
  Standing standing = {};
  std::shared_ptr<const NodeChoice> nodes = nullptr;  // null: any node
};

}  // namespace basalt
