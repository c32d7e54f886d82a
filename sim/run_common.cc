#include "sim/run_common.h"

#include <algorithm>
#include <numeric>

namespace basalt::sim {

Result<PreparedRun> Prepare(const Workload& workload, const ConfiguredPolicy& policy,
                            std::uint64_t seed, const std::vector<std::int64_t>& ranks,
                            const RunOptions& options) {
  EngineOptions engine_options;
  engine_options.seed = seed;
  engine_options.target = workload.target;
  engine_options.audit_every = options.audit_every;
  engine_options.scan_every_node = options.scan_every_node;
  engine_options.journal = options.journal;
  engine_options.executor = options.executor;
  engine_options.tier_names = workload.tier_names;
  Result<std::unique_ptr<Engine>> engine = Engine::Create(policy, std::move(engine_options));
  if (!engine) return tl::unexpected<Error>(engine.error());
  std::vector<std::uint32_t> by_rank(workload.nodes.size());
  std::iota(by_rank.begin(), by_rank.end(), 0U);
  const auto rank = [&](std::uint32_t node) {
    return ranks.empty() ? workload.nodes[node].rank : ranks[node];
  };
  std::stable_sort(by_rank.begin(), by_rank.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return rank(a) < rank(b); });
  NodeAdded added;
  for (const std::uint32_t node : by_rank) {
    added.spec = workload.nodes[node];
    added.spec.rank = rank(node);
    if (Status ok = (*engine)->Apply(added, SimTime{}); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
  }
  PreparedRun run{std::move(*engine), {}};
  run.shapes.reserve(workload.requests.size());
  for (const RequestSpec& spec : workload.requests) {
    const Result<ShapeId> shape = run.engine->InternShape(spec);
    if (!shape) return tl::unexpected<Error>(shape.error());
    run.shapes.push_back(*shape);
  }
  return run;
}

std::vector<FailedShape> FailureTally::Explain(Engine& engine,
                                               const std::vector<ShapeId>& shapes) const {
  std::vector<FailedShape> out;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].count == 0) continue;
    const RequestSpec& spec = workload_.requests[i];
    Request probe;
    probe.uid = PodUidFromName("why");
    probe.shape = shapes[i];
    const Explanation why = engine.Explain(probe);
    FailedShape f;
    f.shape = Describe(spec);
    f.count = entries_[i].count;
    f.gpus = static_cast<double>(f.count) * spec.gpus * spec.gpu_milli / 1000;
    f.outcome = OutcomeKindName(entries_[i].kind);
    f.reason = why.text;
    out.push_back(std::move(f));
  }
  std::stable_sort(out.begin(), out.end(), [](const FailedShape& a, const FailedShape& b) {
    return a.gpus != b.gpus ? a.gpus > b.gpus : a.count > b.count;
  });
  return out;
}

void FinishRun(Engine& engine, const FailureTally& failures, const std::vector<ShapeId>& shapes,
               const RunOptions& options, const std::function<std::string(const PodUid&)>& pod_name,
               RunResult& result) {
  result.decision_digest = engine.DecisionDigest();
  result.work = engine.work();
  const ClusterTotals& totals = engine.state().totals();
  result.final_allocation_pct =
      totals.gpu_capacity == 0 ? 0
                               : 100 * static_cast<double>(totals.gpu_capacity - totals.gpu_free) /
                                     static_cast<double>(totals.gpu_capacity);
  if (options.explain_failures) result.failed_shapes = failures.Explain(engine, shapes);
  if (options.keep_map && result.map.empty()) result.map = DrawMap(engine, pod_name);
  if (options.inspect) options.inspect(engine);
}

std::vector<MapNode> DrawMap(Engine& engine,
                             const std::function<std::string(const PodUid&)>& pod_name) {
  const Fragmentation* frag = engine.fragmentation();
  const ClusterState& state = engine.state();
  std::vector<MapNode> map;
  for (const NodeId node : state.order()) {
    const NodeHot& hot = state.hot(node);
    MapNode out;
    out.name = state.name(node);
    out.cpu_free_milli = hot.cpu_free;
    out.cpu_milli = state.capacity(node).cpu;
    out.cards.resize(static_cast<std::size_t>(hot.cards));
    for (int i = 0; i < hot.cards; ++i) {
      const CardState& card = state.card(node, i);
      MapCard& cell = out.cards[static_cast<std::size_t>(i)];
      out.model = state.model_name(ModelId(std::uint32_t{card.model}));
      cell.free_milli = card.free_milli;
      if (card.memory_total > 0) cell.memory_free_mib = card.memory_free;
      if (frag == nullptr || card.free_milli <= 0) continue;
      // Usable when some typical class could take this card with what the node has; otherwise the
      // cause that most of the workload's weight meets.
      std::array<std::int64_t, kStrandCauses> weight{};
      for (const TargetClass& c : frag->target().classes()) {
        if (c.spec.gpus == 0) continue;
        const bool model_ok =
            c.spec.models.empty() ||
            std::find(c.spec.models.begin(), c.spec.models.end(), out.model) != c.spec.models.end();
        const bool cpu_ok = hot.cpu_free >= c.spec.cpu_milli;
        int fitting = 0;
        bool here = false;
        for (int j = 0; j < hot.cards; ++j) {
          const bool fits =
              state.CardFree(node)[static_cast<std::size_t>(j)] >= std::max(c.spec.gpu_milli, 1) &&
              state.card(node, j).memory_free >= c.spec.gpu_memory_mib;
          fitting += fits ? 1 : 0;
          here = here || (fits && i == j);
        }
        if (model_ok && cpu_ok && here && fitting >= c.spec.gpus) {
          cell.usable = true;
          break;
        }
        const StrandCause cause = !model_ok                          ? StrandCause::kModelNotAllowed
                                  : cpu_ok && fitting >= c.spec.gpus ? StrandCause::kDust
                                  : cpu_ok                           ? StrandCause::kNoCardFits
                                  : fitting >= c.spec.gpus           ? StrandCause::kCpuShort
                                                                     : StrandCause::kBoth;
        weight[static_cast<std::size_t>(cause)] += c.count;
      }
      if (!cell.usable) {
        const auto most = std::max_element(weight.begin(), weight.end()) - weight.begin();
        cell.cause = StrandCauseKey(static_cast<StrandCause>(most));
      }
    }
    engine.ForEachOn(node, [&](const Allocation& a) {
      const Shape& shape = state.shape(a.shape);
      for (const int card : a.cards) {
        const CardState& c = state.card(node, card);
        out.cards[static_cast<std::size_t>(card)].slices.push_back(
            CardSlice{pod_name(a.uid), shape.milli,
                      c.memory_total > 0 ? state.CardMemoryNeed(shape, c) : 0, shape.kind});
      }
    });
    for (MapCard& card : out.cards) {  // allocations come in no particular order
      std::sort(card.slices.begin(), card.slices.end(), [](const CardSlice& a, const CardSlice& b) {
        return a.milli != b.milli ? a.milli > b.milli : a.pod < b.pod;
      });
    }
    map.push_back(std::move(out));
  }
  return map;
}

}  // namespace basalt::sim
