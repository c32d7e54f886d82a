#include "scheduler-core/engine/shadow.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "scheduler-core/engine/trial.h"

namespace basalt {
namespace {

// What taking these cards there would add to the node's fragment.
void Weigh(Engine& engine, ShapeId shape, NodeId node, CardSet cards,
           const std::shared_ptr<const NumaTake>& numa, ShadowChoice* choice) {
  const ClusterState& state = engine.state();
  for (const int card : cards) choice->idle_cards += state.card(node, card).slices == 0 ? 1 : 0;
  if (engine.fragmentation() == nullptr || !state.CanRecord(shape, node, cards, numa.get())) return;
  const NodeFragment before = engine.fragmentation()->node(node);
  Trial trial(engine);
  Trial::Place place;
  place.shape = shape;
  place.at.node = node;
  place.at.cards = cards;
  place.at.numa = numa;
  trial.Take(place);
  const NodeFragment& after = engine.fragmentation()->node(node);
  const std::int64_t weight = engine.fragmentation()->weight();
  for (std::size_t c = 0; c < kStrandCauses; ++c) {
    choice->added_milli[c] = (after.causes[c] - before.causes[c]) / weight;
  }
}

}  // namespace

std::string ShapeWords(const RequestSpec& spec) {
  std::string text;
  if (spec.gpus > 0) {
    text = fmt::format("{} x ", spec.gpus);
    if (!spec.mig_profile.empty()) {
      text += spec.mig_profile;
    } else if (spec.gpu_milli > 0) {
      text += fmt::format("{}m", spec.gpu_milli);
    } else {
      text += "slice";
    }
    if (spec.gpu_memory_mib > 0) text += fmt::format("/{}MiB", spec.gpu_memory_mib);
    if (spec.gpu_memory_percent > 0) text += fmt::format("/{}%", spec.gpu_memory_percent);
    text += ", ";
  }
  return text + fmt::format("{} CPU", static_cast<double>(spec.cpu_milli) / 1000);
}

ShadowVerdict JudgeBinding(Engine& engine, const Request& request, const Outcome& ours,
                           const PodObserved& live, SimTime now) {
  const ClusterState& state = engine.state();
  ShadowVerdict out;
  out.at = now;
  out.uid = request.uid;
  out.shape = ShapeWords(state.shape(request.shape).spec);
  out.measured = engine.fragmentation() != nullptr;
  out.kind = ours.kind;
  const NodeId node = state.FindNode(live.node);
  out.live.node = live.node;
  out.live.cards = live.cards;
  const NodeVerdict verdict = engine.Judge(request, node);
  out.live.fits = verdict.reason == Reason::kFits;
  out.live.reason = verdict.reason;
  out.live.score = verdict.score;
  Weigh(engine, request.shape, node, live.cards, live.numa, &out.live);
  if (!ours.placed()) return out;
  out.ours.node = state.name(ours.placement.node);
  out.ours.cards = ours.placement.cards;
  out.ours.fits = true;
  out.ours.score = ours.placement.score;
  Weigh(engine, request.shape, ours.placement.node, ours.placement.cards, ours.placement.numa,
        &out.ours);
  return out;
}

void ShadowBook::Waits(const Request& request, SimTime now) {
  waiting_.try_emplace(request.uid, Waiter{request, now});
}

void ShadowBook::Move(const Engine& from, Engine* to) {
  for (auto& [uid, waiter] : waiting_) {
    ShapeId& shape = waiter.request.shape;
    shape = *to->InternShape(from.state().shape(shape).spec);
  }
}

const ShadowVerdict& ShadowBook::Bound(ShadowVerdict verdict) {
  if (const auto it = waiting_.find(verdict.uid); it != waiting_.end()) {
    verdict.waited_us = verdict.at.us - it->second.since.us;
    waiting_.erase(it);
  }
  const std::int64_t stranded = verdict.stranded_milli();
  ++totals_.bound;
  totals_.same_cards += verdict.same() ? 1 : 0;
  totals_.same_node += verdict.same_node() ? 1 : 0;
  totals_.not_ours += verdict.ours.node.empty() ? 1 : 0;
  totals_.overbooked += verdict.live.fits ? 0 : 1;
  totals_.stranded_milli += stranded;
  totals_.worse += stranded > 0 ? 1 : 0;
  totals_.better += stranded < 0 ? 1 : 0;
  if (verdict.comparable()) {
    totals_.idle_cards_more += verdict.live.idle_cards - verdict.ours.idle_cards;
    for (std::size_t c = 0; verdict.measured && c < kStrandCauses; ++c) {
      totals_.by_cause_milli[c] += verdict.live.added_milli[c] - verdict.ours.added_milli[c];
    }
  }
  ByShape& shape = by_shape_[verdict.shape];
  ++shape.bound;
  shape.same_node += verdict.same_node() ? 1 : 0;
  shape.stranded_milli += stranded;
  if (stranded > 0) {
    const auto at = std::find_if(worst_.begin(), worst_.end(), [&](const ShadowVerdict& other) {
      return other.stranded_milli() < stranded;
    });
    worst_.insert(at, verdict);
    if (worst_.size() > kWorst) worst_.pop_back();
  }
  last_ = std::move(verdict);
  return last_;
}

ShadowBook::Waiting ShadowBook::WaitingNow(Engine& engine, SimTime now) const {
  Waiting out;
  out.idle_cards = engine.state().totals().idle_cards;
  // Those that ask for the same in the same name get the same answer.
  std::map<std::tuple<std::uint32_t, Standing>, bool> fits;
  std::map<std::uint64_t, std::vector<const Waiter*>> jobs;
  for (const auto& [uid, waiter] : waiting_) {
    ++out.pods;
    out.longest_us = std::max(out.longest_us, now.us - waiter.since.us);
    const Request& request = waiter.request;
    const auto [it, is_new] = fits.try_emplace({request.shape.value(), request.standing}, false);
    if (is_new) it->second = engine.Explain(request).kind == OutcomeKind::kPlaced;
    out.pods_that_fit += it->second ? 1 : 0;
    if (request.job != 0) jobs[request.job].push_back(&waiter);
  }
  for (const auto& [job, pods] : jobs) {
    if (pods.size() < 2) continue;
    ++out.gangs;
    GangRequest gang;
    gang.uid = PodUid{job, 1};
    gang.job = job;
    gang.standing = pods.front()->request.standing;
    std::map<std::uint32_t, std::int32_t> shapes;
    for (const Waiter* pod : pods) ++shapes[pod->request.shape.value()];
    for (const auto& [shape, count] : shapes) {
      gang.spec.tasks.push_back({"", ShapeId(shape), count, count, -1});
    }
    if (!ValidateGang(gang.spec, "").has_value()) continue;
    Trial trial(engine);
    const GangSpec spec = trial.InQueue(gang.spec, gang.standing);
    out.gangs_that_fit += trial.FindGang(gang, spec).has_value() ? 1 : 0;
  }
  return out;
}

}  // namespace basalt
