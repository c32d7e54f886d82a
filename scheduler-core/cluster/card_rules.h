// What a card model allows: the granularity and templates of its slices, its MIG profiles, how many
// cards a container may have and which must go together. One table for every vendor: a new vendor
// is a new row (devices/catalog), not new code. The engine knows a model's rules from a
// CardRulesSet event, before nodes with such cards come; a model without rules is sliced freely.
//
// Sources: the rules of HAMi v2.10 for each vendor, NVIDIA's MIG user guide; docs/devices.md.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "scheduler-core/base/result.h"
#include "scheduler-core/base/units.h"

namespace basalt {

// A slice that the vendor cuts (Ascend vNPU, Kunlun vXPU, Enflame DRS): a request takes the
// smallest that has its memory and its compute, and is charged all of it. One with all of the
// compute is the whole card.
struct SliceTemplate {
  std::string name;
  MiB memory_mib = 0;
  MilliGpu compute_milli = 0;
  friend auto operator<=>(const SliceTemplate&, const SliceTemplate&) = default;
};

// A MIG instance takes `size` neighbouring memory slots of the card, from one of `starts`.
struct MigProfile {
  std::string name;
  MiB memory_mib = 0;
  MilliGpu compute_milli = 0;  // of the card's seven (A30: four) compute slices, rounded down
  std::int32_t size = 0;
  std::vector<std::int32_t> starts = {};  // ascending
  bool media = false;  // has the card's media engines ("+me"); a card has one such instance
  friend auto operator<=>(const MigProfile&, const MigProfile&) = default;
};
inline constexpr int kMaxMigSlots = 8;

// Which cards of a node go together when a pod asks for several whole ones.
enum class CardGrouping : std::uint8_t {
  kNone,
  kModules,        // whole modules only (Ascend 910C: two dies each); a single die takes its module
  kFullestGroup,   // from the group with the most candidates first (Ascend 910: HCCS networks)
  kSmallestGroup,  // from the smallest group that has enough (MetaX: link zones)
  kWings,          // Kunlun P800: two wings of four, cross pairs; counts of 1, 2, 4, 8
};

struct CardRules {
  std::string model;   // as in CardSpec::model
  std::string vendor;  // "nvidia", "ascend", ...: what RequestSpec::vendors selects
  // What the whole card computes, in units that compare models (the catalog: dense FP16 TFLOPS).
  // 0: unknown, then requests in units do not land here.
  std::int32_t compute_units = 0;
  MiB memory_unit_mib = 1;             // slices are rounded up to this
  std::vector<MiB> memory_sizes = {};  // slices have one of these, ascending; empty: any
  // The parts that compute is cut in (Mthreads: 16 cores); k parts are 1000 k / parts milli,
  // rounded down, so that all parts together are one card.
  std::int32_t compute_parts = kWholeCard;
  std::vector<SliceTemplate> templates = {};  // ascending by memory; empty: any amount
  bool equal_slices = false;                  // all slices of a card have one size
  bool several_slices = true;  // a container may have slices on several cards; else whole ones
  bool one_qos = false;        // a used card takes only slices of its QoS class
  std::vector<std::int32_t> counts = {};  // how many cards a container may have; empty: any number
  CardGrouping grouping = CardGrouping::kNone;
  std::int32_t group_size = 0;  // cards of a group, by index, where CardSpec::group is not given
  std::int32_t mig_slots = 0;   // memory slots of a card in MIG mode; 0: no MIG
  std::vector<MigProfile> mig = {};
  // An instance of each of these only, as the card was cut beforehand (profile index, start);
  // empty: the card is cut as requests come (dynamic).
  std::vector<std::pair<std::int32_t, std::int32_t>> mig_layout = {};
  friend auto operator<=>(const CardRules&, const CardRules&) = default;
};
// Errors name the rule: amounts out of range, templates out of order, a profile that leaves the
// card.
Status ValidateCardRules(const CardRules& rules, const std::string& where);

// What is asked of each card.
struct CardAsk {
  std::int32_t milli = 0;
  std::int32_t memory = 0;   // MiB
  std::int32_t percent = 0;  // of the card's physical memory; the larger of both holds
  std::int32_t units = 0;    // compute in CardRules::compute_units; then milli is 0
  bool whole = false;        // the card for itself
  std::int32_t count = 1;    // on how many cards the container asks it
  friend auto operator<=>(const CardAsk&, const CardAsk&) = default;
};

// What a slice takes of one card.
struct CardDemand {
  bool possible = false;  // this model can serve the ask at all
  bool whole = false;     // takes the whole card
  std::int16_t milli = 0;
  std::int32_t memory = 0;          // MiB
  std::int8_t slice_template = -1;  // index into CardRules::templates
};

// The slice that the ask becomes on a card of the rules (null: none) with this much physical and
// schedulable (oversubscribed) memory and compute. A whole card is all that is schedulable, so that
// nobody shares it however far it is oversubscribed.
CardDemand DemandOn(const CardAsk& ask, const CardRules* rules, std::int32_t physical_memory,
                    std::int32_t total_memory, std::int32_t total_milli);

// The MIG profile for the ask: the named one, else the smallest memory that suffices, then the
// fewest slots; -1: none. A percentage is of the largest profile's memory. On a card that was cut
// beforehand only its own profiles count.
int MigProfileFor(const CardAsk& ask, const std::string& name, const CardRules& rules);

// Bits of the slots that the profile takes from `start`.
inline std::uint32_t MigMask(const MigProfile& profile, std::int32_t start) {
  return ((std::uint32_t{1} << profile.size) - 1) << start;
}

// Where to put one instance of the profile on a card whose `occupied` slots are taken: the start
// that leaves the most (profile, start) pairs placeable, the highest start on ties; -1: none.
// Leaving the most is what keeps every later request placeable as often as can be (the
// capability CC of the MIG literature; docs/devices.md).
int BestMigStart(const CardRules& rules, int profile, std::uint32_t occupied);

// A start for each profile of the list, together, so that all fit on the card: of all arrangements
// one that leaves the most pairs placeable; empty when there is none (exhaustive search).
std::vector<int> ArrangeMig(const CardRules& rules, const std::vector<int>& profiles,
                            std::uint32_t occupied);

}  // namespace basalt
