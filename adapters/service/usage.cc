#include "adapters/service/usage.h"

#include <algorithm>
#include <array>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "adapters/service/uid.h"
#include "traces/diagnostics.h"
#include "traces/trace.h"
#include "traces/usage_names.h"
#include "traces/usage_prometheus.h"

namespace basalt::service {
namespace {

using Sample = UsageBook::Sample;
// What one look at an exporter found may come in parts, compute apart from memory.
constexpr std::int64_t kOneLookUs = 10'000'000;
using Response = placement::v1::ReportUsageResponse;

// Whether the node has a card of one of these names.
bool HasCard(const ClusterState& state, const std::string& node,
             std::span<const std::string> names) {
  const NodeId id = state.FindNode(node);
  if (!id.valid()) return false;
  for (int c = 0; c < state.hot(id).cards; ++c) {
    if (std::ranges::find(names, state.CardUuid(id, c)) != names.end()) return true;
  }
  return false;
}

template <class Map>
void Take(const typename Map::key_type& key, const Sample& sample, Map* book, Response* out) {
  Sample& last = book->try_emplace(key, Sample{sample.time}).first->second;
  if (sample.time < last.time) {
    out->set_stale(out->stale() + 1);
    return;
  }
  const Sample before = std::exchange(last, sample);
  if (sample.time.us - before.time.us <= kOneLookUs) {
    if (last.compute_milli < 0) last.compute_milli = before.compute_milli;
    if (last.memory_mib < 0) last.memory_mib = before.memory_mib;
  }
  out->set_taken(out->taken() + 1);
}

void Unknown(std::size_t count, Response* out) {
  out->set_unknown(out->unknown() + static_cast<std::int64_t>(count));
}

// What several series say of one thing: of compute and of memory the best row of the table.
struct Measured {
  struct Quantity {
    std::int32_t row = -1;
    std::int64_t micro = 0;
  };
  std::array<Quantity, 2> of = {};  // compute, memory
  SimTime time;

  void Add(std::int32_t row, std::size_t which, std::int64_t micro, SimTime at) {
    if (of[which].row >= 0 && of[which].row <= row) return;
    of[which] = {row, micro};
    time = std::max(time, at);
  }
  Sample ToSample() const {
    Sample out{time};
    // Percent of a card is ten thousandths of it.
    if (of[0].row >= 0) out.compute_milli = static_cast<std::int32_t>(of[0].micro / 100'000);
    if (of[1].row >= 0) out.memory_mib = of[1].micro / 1'000'000;
    return out;
  }
};

}  // namespace

Response UsageBook::Report(const Engine& engine, const placement::v1::ReportUsageRequest& request,
                           SimTime now, const PodNamed& named) {
  Response out;
  for (const auto& s : request.samples()) {
    const Sample sample{std::min(SimTime{s.time_us()}, now), s.compute_milli(), s.memory_mib()};
    if (!s.pod().uid().empty()) {
      const Result<PodUid> uid = ParseUid(s.pod().uid());
      if (uid && engine.Find(*uid) != nullptr) {
        Take({*uid, s.card_uuid()}, sample, &pods_, &out);
      } else {
        Unknown(1, &out);
      }
      continue;
    }
    // A card without a UUID of its own is called by its node and place, with a '/' between.
    const std::array<std::string, 2> names = {s.card_uuid(),
                                              s.card_uuid().substr(0, s.card_uuid().find('/'))};
    if (HasCard(engine.state(), s.node(), names)) {
      Take({s.node(), s.card_uuid()}, sample, &cards_, &out);
    } else {
      Unknown(1, &out);
    }
  }
  if (!request.exposition().empty()) TakeExposition(engine, request, now, named, &out);
  return out;
}

void UsageBook::TakeExposition(const Engine& engine,
                               const placement::v1::ReportUsageRequest& request, SimTime now,
                               const PodNamed& named, Response* out) {
  trace::Diagnostics diagnostics;
  const trace::UsageFile file =
      trace::ParsePrometheusText("exposition", request.exposition(), &diagnostics);
  Unknown(diagnostics.total, out);
  std::map<std::pair<std::string, std::string>, Measured> cards;
  std::map<std::tuple<PodUid, std::string, std::string>, Measured> slices;  // pod, card, container
  for (const trace::UsageSeries& series : file.series) {
    const trace::UsageName& name = trace::UsageNames()[static_cast<std::size_t>(series.name)];
    if (name.metric == trace::kSmActivePct) continue;
    const std::size_t which = name.metric == trace::kGpuMemMib ? 1 : 0;
    const trace::UsagePoint& point = series.points.back();
    const SimTime at =
        point.time_us == trace::kUnknownTime ? now : std::min(SimTime{point.time_us}, now);
    const std::string& node = series.node.empty() ? request.node() : series.node;
    if (name.scope == trace::UsageScope::kCard) {
      const std::string card = series.uuid.empty() ? node + '/' + series.index : series.uuid;
      cards[{node, card}].Add(series.name, which, point.value_micro, at);
      continue;
    }
    const std::optional<PodUid> pod = named(series.name_space, series.pod);
    if (!pod || engine.Find(*pod) == nullptr) {
      Unknown(1, out);
      continue;
    }
    slices[{*pod, series.uuid, series.container}].Add(series.name, which, point.value_micro, at);
  }
  for (const auto& [key, measured] : cards) {
    const std::array<std::string, 2> names = {key.second,
                                              key.second.substr(0, key.second.find('/'))};
    if (HasCard(engine.state(), key.first, names)) {
      Take(key, measured.ToSample(), &cards_, out);
    } else {
      Unknown(1, out);
    }
  }
  // Containers of a pod share its slice of the book.
  std::map<std::pair<PodUid, std::string>, Sample> pods;
  for (const auto& [key, measured] : slices) {
    const Sample one = measured.ToSample();
    Sample& sum =
        pods.try_emplace({std::get<0>(key), std::get<1>(key)}, Sample{one.time}).first->second;
    sum.time = std::max(sum.time, one.time);
    if (one.compute_milli >= 0) {
      sum.compute_milli = std::max(sum.compute_milli, 0) + one.compute_milli;
    }
    if (one.memory_mib >= 0) {
      sum.memory_mib = std::max<std::int64_t>(sum.memory_mib, 0) + one.memory_mib;
    }
  }
  for (const auto& [key, sample] : pods) Take(key, sample, &pods_, out);
}

void UsageBook::PodGone(const PodUid& uid) {
  auto it = pods_.lower_bound({uid, ""});
  while (it != pods_.end() && it->first.first == uid) it = pods_.erase(it);
}

void UsageBook::NodeGone(const std::string& node) {
  auto it = cards_.lower_bound({node, ""});
  while (it != cards_.end() && it->first.first == node) it = cards_.erase(it);
}

void UsageBook::Expire(SimTime before) {
  std::erase_if(cards_, [before](const auto& entry) { return entry.second.time < before; });
  std::erase_if(pods_, [before](const auto& entry) { return entry.second.time < before; });
}

}  // namespace basalt::service
