// How much idle GPU a typical workload cannot use, per node and for the cluster, by cause.
//
// Definition (FGD, Weng et al., USENIX ATC'23, sections 3 and 4): for a target workload M of
// classes m with weight p_m, the fragment of node n is F_n(M) = sum_m p_m F_n(m), where F_n(m) is
// all idle GPU of the node if m cannot run there, and only the cards that are too small for m if it
// can. CPU-only classes count all idle GPU, as published.
//
// Cards with two dimensions: the idle amount of a card is a_j = free milli when its memory is
// unknown, and otherwise the mean of its free compute and free memory, both in thousandths of the
// card; m fits a card when compute and memory both suffice. With memory unknown, or with memory and
// compute always taken in the same proportion, this is the published formula, term by term.
//
// Exactness: amounts are integers (class counts x milli), so cached and recomputed values cannot
// drift apart; AmountInPublishedOrder repeats the authors' floating-point summation for the rare
// decision that hangs on its rounding.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/cluster/state.h"
#include "scheduler-core/workload/request.h"

namespace basalt {

struct TargetClass {
  RequestSpec spec;        // host memory is not part of a class
  std::int64_t count = 0;  // how often it was seen
  double weight = 0;       // count / sum, computed as the authors do
};

// The classes that make up `percent` of all requests, most frequent first; ties: more CPU, more
// milli, more cards, greater model string first (fgd-and-traces, section 2.1).
class TargetWorkload {
 public:
  struct Counted {
    RequestSpec spec;
    std::int64_t count;
  };
  TargetWorkload() = default;
  explicit TargetWorkload(std::span<const Counted> requests, int percent = 95);
  // Classes with weights of their own, as given (tests, configuration).
  static TargetWorkload FromWeights(std::vector<TargetClass> classes);
  // What a journal recorded: the classes kept, in order, out of `all_count` requests.
  static TargetWorkload FromKept(std::span<const Counted> kept, std::int64_t all_count);

  const std::vector<TargetClass>& classes() const { return classes_; }
  std::int64_t total_count() const { return total_count_; }  // of the classes kept
  std::int64_t all_count() const { return all_count_; }      // before the cut
  bool empty() const { return classes_.empty(); }

 private:
  void Weigh();
  std::vector<TargetClass> classes_;
  std::int64_t total_count_ = 0;
  std::int64_t all_count_ = 0;
};

enum class StrandCause : std::uint8_t {
  kNoCardFits,       // enough CPU, but no card (or not enough cards) large enough
  kCpuShort,         // a card fits, the CPU does not
  kBoth,             // neither
  kModelNotAllowed,  // the class may not run on this model
  kDust,             // the class fits; these cards beside the fitting one are too small for it
  kCpuOnly,          // the class asks for no GPU
};
inline constexpr std::size_t kStrandCauses = 6;
std::string_view StrandCauseKey(StrandCause cause);
std::string_view StrandCauseLabel(StrandCause cause);

// Weighted idle GPU: class count x milli. Divide by total_count for milli-GPU.
struct NodeFragment {
  std::int64_t idle = 0;                             // sum of a_j, milli (not weighted)
  std::int64_t usable = 0;                           // weighted idle that classes could use
  std::array<std::int64_t, kStrandCauses> causes{};  // weighted; they add up to the fragment
  std::int64_t fragment() const {
    std::int64_t sum = 0;
    for (const std::int64_t c : causes) sum += c;
    return sum;
  }
};

// Lookup tables for the nodes of one card model, when compute alone decides (class.simple). For a
// free CPU of rank c and a card with r free milli, single_card[c][rank(r)] is the weight of the
// one-card classes that fit both; multi_card[c][k] that of the whole-card classes of 2..k cards.
struct FragmentTable {
  bool usable = true;  // false: more than 255 distinct sizes, ranks would not fit their bytes
  std::int32_t milli_ranks = 0;
  std::int32_t max_cards = 0;
  std::vector<std::int32_t> cpu_thresholds;
  std::vector<std::uint8_t> cpu_rank_by_step;  // cpu / cpu_step -> rank, up to the largest
  std::int32_t cpu_step = 1;
  std::array<std::uint8_t, 2 * kWholeCard + 1> milli_rank{};
  std::vector<std::int32_t> single_card;
  std::vector<std::int32_t> multi_card;
  std::int64_t cpu_only_weight = 0;
  std::int64_t no_access_weight = 0;

  std::int32_t CpuRank(std::int32_t cpu) const {
    if (cpu < 0) return 0;
    if (cpu_rank_by_step.empty()) {  // thresholds too far apart for a table
      return static_cast<std::int32_t>(
          std::upper_bound(cpu_thresholds.begin(), cpu_thresholds.end(), cpu) -
          cpu_thresholds.begin());
    }
    const auto step = static_cast<std::size_t>(cpu / cpu_step);
    return step < cpu_rank_by_step.size() ? cpu_rank_by_step[step]
                                          : static_cast<std::int32_t>(cpu_thresholds.size());
  }
  const std::int32_t* SingleRow(std::int32_t cpu_rank) const {
    return single_card.data() + cpu_rank * (milli_ranks + 1);
  }
  std::int64_t Multi(std::int32_t cpu_rank, std::int32_t full_cards) const {
    return std::int64_t{kWholeCard} * full_cards *
           multi_card[static_cast<std::size_t>(cpu_rank * (max_cards + 1) +
                                               (full_cards < max_cards ? full_cards : max_cards))];
  }
};

class Fragmentation {
 public:
  Fragmentation(const ClusterState& state, TargetWorkload target);

  // Takes in what changed since the last call; must run before any of the readings below.
  void CatchUp();

  const TargetWorkload& target() const { return target_; }
  std::int64_t weight() const { return target_.total_count(); }
  // Sums over schedulable nodes, and one node's part.
  const NodeFragment& total() const { return total_; }
  const NodeFragment& node(NodeId id) const { return nodes_[id]; }

  // The weighted usable idle of the node if it had this much CPU and these cards: the definition,
  // class by class (slow, obvious), also right for cards with two dimensions.
  NodeFragment Evaluate(NodeId node, std::int32_t cpu_free, std::span<const std::int16_t> card_free,
                        std::span<const std::int32_t> card_memory_free) const;
  // The same through the tables; only for nodes where table(node) is not null.
  NodeFragment EvaluateByTable(const FragmentTable& table, std::int32_t cpu_free,
                               std::span<const std::int16_t> card_free) const;
  // nullptr: card memory or mixed models matter on this node; use Evaluate.
  const FragmentTable* table(NodeId node) const;

  // F_n in milli-GPU, summed exactly as the authors' simulator does: one accumulator a kind of
  // fragment, classes in order, then the kinds. For nodes without card memory.
  double AmountInPublishedOrder(NodeId node, std::int32_t cpu_free,
                                std::span<const std::int16_t> card_free) const;

  std::int64_t evaluations() const { return evaluations_; }

 private:
  void Update(NodeId node);
  void BuildTables();
  bool ModelAllowed(const TargetClass& c, ModelId model) const;

  const ClusterState& state_;
  TargetWorkload target_;
  bool simple_ = false;  // no class asks for card memory or for fractions of several cards
  IdVector<ModelId, FragmentTable> tables_;
  IdVector<NodeId, NodeFragment> nodes_;
  NodeFragment total_;
  std::uint64_t cursor_ = 0;
  std::uint64_t structure_version_ = 0;
  std::int64_t evaluations_ = 0;
};

}  // namespace basalt
