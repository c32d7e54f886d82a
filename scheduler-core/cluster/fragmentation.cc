#include "scheduler-core/cluster/fragmentation.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

#include "scheduler-core/base/check.h"

namespace basalt {
namespace {

std::string ModelString(const RequestSpec& spec) {
  std::string text;
  for (std::size_t i = 0; i < spec.models.size(); ++i) text += (i ? "|" : "") + spec.models[i];
  return text;
}

// What makes two requests the same class: host memory and labels are not part of it.
RequestSpec ClassOf(const RequestSpec& spec) {
  RequestSpec out;
  out.cpu_milli = spec.cpu_milli;
  out.gpus = spec.gpus;
  out.gpu_milli = spec.gpu_milli;
  out.gpu_memory_mib = spec.gpu_memory_mib;
  out.gpu_memory_percent = spec.gpu_memory_percent;
  out.models = spec.models;
  return out;
}

auto ClassKey(const RequestSpec& s, const std::string& models) {
  return std::tuple(s.cpu_milli, s.gpu_milli, s.gpus, s.gpu_memory_mib, s.gpu_memory_percent,
                    models);
}

std::size_t Index(StrandCause cause) { return static_cast<std::size_t>(cause); }

}  // namespace

TargetWorkload::TargetWorkload(std::span<const Counted> requests, int percent) {
  std::map<RequestSpec, std::int64_t> counts;
  for (const Counted& request : requests) {
    counts[ClassOf(request.spec)] += request.count;
    all_count_ += request.count;
  }
  for (const auto& [spec, count] : counts) classes_.push_back(TargetClass{spec, count, 0});
  std::sort(classes_.begin(), classes_.end(), [](const TargetClass& a, const TargetClass& b) {
    if (a.count != b.count) return a.count > b.count;
    return ClassKey(a.spec, ModelString(a.spec)) > ClassKey(b.spec, ModelString(b.spec));
  });
  const double expected = static_cast<double>(percent) * static_cast<double>(all_count_) / 100.0;
  std::size_t kept = 0;
  while (kept < classes_.size() && static_cast<double>(total_count_) < expected) {
    total_count_ += classes_[kept++].count;
  }
  classes_.resize(kept);
  Weigh();
}

void TargetWorkload::Weigh() {
  const auto all = static_cast<double>(all_count_);
  for (TargetClass& c : classes_) {
    c.weight = static_cast<double>(c.count) / all;
    if (total_count_ < all_count_) c.weight /= static_cast<double>(total_count_) / all;
  }
}

TargetWorkload TargetWorkload::FromKept(std::span<const Counted> kept, std::int64_t all_count) {
  TargetWorkload target;
  for (const Counted& c : kept) {
    target.classes_.push_back(TargetClass{c.spec, c.count, 0});
    target.total_count_ += c.count;
  }
  target.all_count_ = std::max(all_count, target.total_count_);
  target.Weigh();
  return target;
}

TargetWorkload TargetWorkload::FromWeights(std::vector<TargetClass> classes) {
  TargetWorkload target;
  target.classes_ = std::move(classes);
  for (const TargetClass& c : target.classes_) target.total_count_ += c.count;
  target.all_count_ = target.total_count_;
  return target;
}

std::string_view StrandCauseKey(StrandCause cause) {
  static constexpr std::array<std::string_view, kStrandCauses> kKeys = {
      "no_card_fits", "cpu_short", "both", "model_not_allowed", "dust", "cpu_only"};
  return kKeys[Index(cause)];
}

std::string_view StrandCauseLabel(StrandCause cause) {
  static constexpr std::array<std::string_view, kStrandCauses> kLabels = {
      "No card fits",
      "CPU short",
      "No card fits and CPU short",
      "Model not allowed",
      "Dust: card too small beside a fitting one",
      "No GPU asked (CPU-only class)"};
  return kLabels[Index(cause)];
}

Fragmentation::Fragmentation(const ClusterState& state, TargetWorkload target)
    : state_(state), target_(std::move(target)) {
  simple_ =
      std::all_of(target_.classes().begin(), target_.classes().end(), [](const TargetClass& c) {
        return c.spec.gpu_memory_mib == 0 && (c.spec.gpus <= 1 || c.spec.gpu_milli == kWholeCard) &&
               (c.spec.gpus == 0 || c.spec.gpu_milli > 0);
      });
}

bool Fragmentation::ModelAllowed(const TargetClass& c, ModelId model) const {
  const auto& models = c.spec.models;
  return models.empty() ||
         std::find(models.begin(), models.end(), state_.model_name(model)) != models.end();
}

void Fragmentation::BuildTables() {
  tables_.clear();
  for (std::size_t m = 0; m < state_.model_count(); ++m) {
    FragmentTable t;
    std::vector<std::int32_t> milli;
    std::vector<const TargetClass*> usable;
    for (const TargetClass& c : target_.classes()) {
      if (c.spec.gpus == 0) {
        t.cpu_only_weight += c.count;
        // No cell depends on it, but equal ranks then mean equal published sums (policies/fgd.cc).
        t.cpu_thresholds.push_back(static_cast<std::int32_t>(c.spec.cpu_milli));
      } else if (!ModelAllowed(c, ModelId(m))) {
        t.no_access_weight += c.count;
      } else {
        usable.push_back(&c);
        t.cpu_thresholds.push_back(static_cast<std::int32_t>(c.spec.cpu_milli));
        if (c.spec.gpus == 1) milli.push_back(c.spec.gpu_milli);
        t.max_cards = std::max(t.max_cards, c.spec.gpus);
      }
    }
    const auto unique = [](std::vector<std::int32_t>& v) {
      std::sort(v.begin(), v.end());
      v.erase(std::unique(v.begin(), v.end()), v.end());
    };
    unique(t.cpu_thresholds);
    unique(milli);
    if (milli.size() > 255 || t.cpu_thresholds.size() > 255) {
      t.usable = false;
      tables_.push_back(std::move(t));
      continue;
    }
    t.milli_ranks = static_cast<std::int32_t>(milli.size());
    for (std::size_t r = 0; r < t.milli_rank.size(); ++r) {
      t.milli_rank[r] = static_cast<std::uint8_t>(
          std::upper_bound(milli.begin(), milli.end(), static_cast<std::int32_t>(r)) -
          milli.begin());
    }
    std::int32_t step = 0;
    for (const std::int32_t c : t.cpu_thresholds) step = std::gcd(step, c);
    t.cpu_step = std::max(step, 1);
    const std::int32_t largest = t.cpu_thresholds.empty() ? 0 : t.cpu_thresholds.back();
    // openb: 64,000 steps at most. Requests of odd sizes would make the table as large as they are.
    constexpr std::int32_t kMostSteps = 1 << 17;
    for (std::int32_t cpu = 0; cpu < largest && largest / t.cpu_step < kMostSteps;
         cpu += t.cpu_step) {
      t.cpu_rank_by_step.push_back(static_cast<std::uint8_t>(
          std::upper_bound(t.cpu_thresholds.begin(), t.cpu_thresholds.end(), cpu) -
          t.cpu_thresholds.begin()));
    }
    const auto cpu_ranks = static_cast<std::int32_t>(t.cpu_thresholds.size()) + 1;
    t.single_card.assign(static_cast<std::size_t>(cpu_ranks * (t.milli_ranks + 1)), 0);
    t.multi_card.assign(static_cast<std::size_t>(cpu_ranks * (t.max_cards + 1)), 0);
    for (const TargetClass* c : usable) {
      const auto cpu_from = static_cast<std::int32_t>(
          std::lower_bound(t.cpu_thresholds.begin(), t.cpu_thresholds.end(),
                           static_cast<std::int32_t>(c->spec.cpu_milli)) -
          t.cpu_thresholds.begin() + 1);
      for (std::int32_t cpu = cpu_from; cpu < cpu_ranks; ++cpu) {
        if (c->spec.gpus == 1) {
          const auto milli_from = t.milli_rank[static_cast<std::size_t>(c->spec.gpu_milli)];
          for (std::int32_t r = milli_from; r <= t.milli_ranks; ++r) {
            t.single_card[static_cast<std::size_t>(cpu * (t.milli_ranks + 1) + r)] +=
                static_cast<std::int32_t>(c->count);
          }
        } else {
          for (std::int32_t k = c->spec.gpus; k <= t.max_cards; ++k) {
            t.multi_card[static_cast<std::size_t>(cpu * (t.max_cards + 1) + k)] +=
                static_cast<std::int32_t>(c->count);
          }
        }
      }
    }
    tables_.push_back(std::move(t));
  }
}

const FragmentTable* Fragmentation::table(NodeId node) const {
  const NodeHot& hot = state_.hot(node);
  if (!simple_ || hot.complex || hot.cards == 0) return nullptr;
  const FragmentTable& t = tables_[state_.class_of(NodeClassId(hot.node_class)).card_models[0]];
  return t.usable ? &t : nullptr;
}

NodeFragment Fragmentation::EvaluateByTable(const FragmentTable& t, std::int32_t cpu_free,
                                            std::span<const std::int16_t> card_free) const {
  NodeFragment f;
  const std::int32_t cpu_rank = t.CpuRank(cpu_free);
  const auto all_cpu = static_cast<std::int32_t>(t.cpu_thresholds.size());
  const std::int32_t* row = t.SingleRow(cpu_rank);
  const std::int32_t* all_row = t.SingleRow(all_cpu);
  std::int32_t largest = 0;
  std::int32_t full = 0;
  std::int64_t single = 0;
  for (const std::int16_t r : card_free) {
    f.idle += r;
    largest = std::max<std::int32_t>(largest, r);
    full += r >= kWholeCard ? 1 : 0;
    single += std::int64_t{r} * row[t.milli_rank[static_cast<std::size_t>(r)]];
  }
  const std::int64_t multi = t.Multi(cpu_rank, full);
  f.usable = single + multi;
  const auto largest_rank = t.milli_rank[static_cast<std::size_t>(largest)];
  // Weights of the classes by what stops them; see FragmentTable for what the cells mean.
  const auto multi_weight = [&](std::int32_t cpu, std::int32_t k) {
    return std::int64_t{
        t.multi_card[static_cast<std::size_t>(cpu * (t.max_cards + 1) + std::min(k, t.max_cards))]};
  };
  const std::int64_t fit_both = row[largest_rank] + multi_weight(cpu_rank, full);
  const std::int64_t fit_card = all_row[largest_rank] + multi_weight(all_cpu, full);
  const std::int64_t fit_cpu = row[t.milli_ranks] + multi_weight(cpu_rank, t.max_cards);
  const std::int64_t all = all_row[t.milli_ranks] + multi_weight(all_cpu, t.max_cards);
  f.causes[Index(StrandCause::kNoCardFits)] = f.idle * (fit_cpu - fit_both);
  f.causes[Index(StrandCause::kCpuShort)] = f.idle * (fit_card - fit_both);
  f.causes[Index(StrandCause::kBoth)] = f.idle * (all - fit_cpu - fit_card + fit_both);
  f.causes[Index(StrandCause::kModelNotAllowed)] = f.idle * t.no_access_weight;
  f.causes[Index(StrandCause::kDust)] = f.idle * fit_both - f.usable;
  f.causes[Index(StrandCause::kCpuOnly)] = f.idle * t.cpu_only_weight;
  return f;
}

NodeFragment Fragmentation::Evaluate(NodeId node, std::int32_t cpu_free,
                                     std::span<const std::int16_t> card_free,
                                     std::span<const std::int32_t> card_memory_free) const {
  NodeFragment f;
  std::array<std::int64_t, kMaxCardsPerNode> amount{};
  for (std::size_t j = 0; j < card_free.size(); ++j) {
    const CardState& card = state_.card(node, static_cast<int>(j));
    // A card that takes nothing more (free 0) has no idle amount to strand.
    amount[j] = card_free[j];
    if (card.memory_total > 0 && card_free[j] > 0) {
      const std::int64_t memory = std::max<std::int64_t>(card_memory_free[j], 0);
      amount[j] = (card_free[j] + 1000 * memory / card.memory_total) / 2;
    }
    f.idle += amount[j];
  }
  for (const TargetClass& c : target_.classes()) {
    if (c.spec.gpus == 0) {
      f.causes[Index(StrandCause::kCpuOnly)] += c.count * f.idle;
      continue;
    }
    bool accessible = false;
    int fitting = 0;
    std::int64_t fitting_amount = 0;
    for (std::size_t j = 0; j < card_free.size(); ++j) {
      const CardState& card = state_.card(node, static_cast<int>(j));
      if (!ModelAllowed(c, ModelId(std::uint32_t{card.model}))) continue;
      accessible = true;
      const int percent = c.spec.gpu_milli == kWholeCard ? 100 : c.spec.gpu_memory_percent;
      const std::int64_t need = std::max<std::int64_t>(
          c.spec.gpu_memory_mib, std::int64_t{card.memory_total} * percent / 100);
      const std::int64_t memory = j < card_memory_free.size() ? card_memory_free[j] : 0;
      if (card_free[j] < std::max(c.spec.gpu_milli, 1) || memory < need) continue;
      ++fitting;
      fitting_amount += amount[j];
    }
    const bool card_ok = fitting >= c.spec.gpus;
    const bool cpu_ok = cpu_free >= c.spec.cpu_milli;
    if (!accessible) {
      f.causes[Index(StrandCause::kModelNotAllowed)] += c.count * f.idle;
    } else if (card_ok && cpu_ok) {
      f.usable += c.count * fitting_amount;
      f.causes[Index(StrandCause::kDust)] += c.count * (f.idle - fitting_amount);
    } else {
      const StrandCause cause = card_ok  ? StrandCause::kCpuShort
                                : cpu_ok ? StrandCause::kNoCardFits
                                         : StrandCause::kBoth;
      f.causes[Index(cause)] += c.count * f.idle;
    }
  }
  return f;
}

double Fragmentation::AmountInPublishedOrder(NodeId node, std::int32_t cpu_free,
                                             std::span<const std::int16_t> card_free) const {
  enum Kind { kLackBoth, kLackGpu, kSatisfied, kLackCpu, kCpuFits, kCpuLacks, kNoAccess, kKinds };
  std::array<double, kKinds> kinds{};
  std::int64_t idle = 0;
  for (const std::int16_t r : card_free) idle += r;
  const ModelId model{std::uint32_t{state_.card(node, 0).model}};
  for (const TargetClass& c : target_.classes()) {
    const bool cpu_ok = cpu_free >= c.spec.cpu_milli;
    Kind kind;
    if (c.spec.gpus == 0) {
      kind = cpu_ok ? kCpuFits : kCpuLacks;
    } else if (!ModelAllowed(c, model)) {
      kind = kNoAccess;
    } else {
      int fitting = 0;
      std::int64_t too_small = 0;
      for (const std::int16_t r : card_free) {
        if (r >= c.spec.gpu_milli) {
          ++fitting;
        } else {
          too_small += r;
        }
      }
      if (fitting >= c.spec.gpus && cpu_ok) {
        kinds[kLackGpu] += c.weight * static_cast<double>(too_small);
        continue;
      }
      kind = fitting >= c.spec.gpus ? kLackCpu : (cpu_ok ? kLackGpu : kLackBoth);
    }
    kinds[kind] += c.weight * static_cast<double>(idle);
  }
  double sum = 0;
  for (const double k : kinds) sum += k;
  return sum;
}

void Fragmentation::Update(NodeId node) {
  NodeFragment next;
  const NodeHot& hot = state_.hot(node);
  if (hot.schedulable && hot.cards > 0) {
    ++evaluations_;
    if (const FragmentTable* t = table(node)) {
      next = EvaluateByTable(*t, hot.cpu_free, state_.CardFree(node));
    } else {
      std::array<std::int32_t, kMaxCardsPerNode> memory{};
      for (int j = 0; j < hot.cards; ++j) {
        memory[static_cast<std::size_t>(j)] = state_.card(node, j).memory_free;
      }
      next = Evaluate(node, hot.cpu_free, state_.CardFree(node),
                      std::span(memory).first(static_cast<std::size_t>(hot.cards)));
    }
  }
  NodeFragment& now = nodes_[node];
  total_.idle += next.idle - now.idle;
  total_.usable += next.usable - now.usable;
  for (std::size_t c = 0; c < kStrandCauses; ++c)
    total_.causes[c] += next.causes[c] - now.causes[c];
  now = next;
}

void Fragmentation::CatchUp() {
  if (structure_version_ != state_.structure_version() || !state_.ChangesAvailable(cursor_)) {
    BuildTables();
    nodes_.clear();
    nodes_.resize(state_.node_slots());
    total_ = NodeFragment{};
    for (std::size_t i = 0; i < state_.node_slots(); ++i) {
      if (state_.exists(NodeId(i))) Update(NodeId(i));
    }
    structure_version_ = state_.structure_version();
  } else {
    for (std::uint64_t i = cursor_; i < state_.change_count(); ++i) Update(state_.ChangedNode(i));
  }
  cursor_ = state_.change_count();
}

}  // namespace basalt
