// A cluster in shadow mode: what another scheduler binds is judged just before it is recorded.
#include <utility>

#include "adapters/service/service.h"
#include "scheduler-core/base/check.h"

namespace basalt::service {
namespace {

// So many pods say what a typical one is, where none were there at the start.
constexpr std::int64_t kTypical = 10;

}  // namespace

bool Service::ListsPods() const {
  const auto source = source_of_.find(pb::SYNC_KIND_PODS);
  if (source == source_of_.end()) return false;
  return streams_.at(source->second).listing.contains(pb::SYNC_KIND_PODS);
}

void Service::JudgeBound(const PodObserved& observed, SimTime now) {
  // Before it asks: nothing comes between the question and the record of what was bound.
  if (shadow_.totals().bound == kTypical) MeasureShadow(now);
  const Result<ShapeId> shape = engine_->InternShape(observed.spec);
  if (!shape) return;  // Apply says why
  const Request request{observed.uid, observed.attempt,  *shape,
                        observed.job, observed.standing, nullptr};
  const Outcome ours = engine_->Propose(request, now);
  Decided(request, ours, now);
  shadow_.Bound(JudgeBinding(*engine_, request, ours, observed, now));
}

void Service::MeasureShadow(SimTime now) {
  if (engine_->fragmentation() != nullptr) return;
  std::vector<TargetWorkload::Counted> there;
  engine_->ForEachAllocation(
      [&](const Allocation& a) { there.push_back({engine_->state().shape(a.shape).spec, 1}); });
  if (there.empty()) return;
  const Status ok = engine_->SetPolicy(engine_->policy(), TargetWorkload(there), now);
  BASALT_CHECK(ok.has_value());  // the policy is the one it has
}

void Service::WriteShadowMetrics(MetricsText* out) {
  const MetricsText::Labels cluster = {{"cluster", config_.id}};
  const auto add = [&](const char* name, const char* type, const char* help, auto value) {
    out->Add(std::string("basalt_shadow_") + name, type, help, cluster, static_cast<double>(value));
  };
  const ShadowBook::Totals& t = shadow_.totals();
  add("bound_total", "counter", "Pods that the live scheduler bound, each judged.", t.bound);
  add("same_node_total", "counter", "Of them on the node that this engine would have chosen.",
      t.same_node);
  add("same_cards_total", "counter", "Of them on its very cards.", t.same_cards);
  add("not_ours_total", "counter", "Of them that this engine would have let wait.", t.not_ours);
  add("overbooked_total", "counter", "Of them that did not fit where they went, by its books.",
      t.overbooked);
  add("worse_total", "counter", "Live choices that stranded more than its own.", t.worse);
  add("better_total", "counter", "Live choices that stranded less than its own.", t.better);
  add("idle_cards_begun", "gauge",
      "Idle cards that the live choices began, less those that its own would have.",
      t.idle_cards_more);
  for (std::size_t c = 0; c < kStrandCauses; ++c) {
    out->Add("basalt_shadow_stranded_milli", "gauge",
             "Compute that the live choices stranded, less what its own would have; summed over "
             "the choices, by cause.",
             {{"cluster", config_.id},
              {"cause", std::string(StrandCauseKey(static_cast<StrandCause>(c)))}},
             static_cast<double>(t.by_cause_milli[c]));
  }
  const ShadowBook::Waiting waiting = shadow_.WaitingNow(*engine_, now_);
  add("waiting_pods", "gauge", "Pods that wait for the live scheduler.", waiting.pods);
  add("waiting_pods_that_fit", "gauge", "Of them that have a place by this engine's books.",
      waiting.pods_that_fit);
  add("waiting_gangs", "gauge", "Jobs of several pods that wait.", waiting.gangs);
  add("waiting_gangs_that_fit", "gauge", "Of them that have places for all of these pods at once.",
      waiting.gangs_that_fit);
  add("longest_wait_seconds", "gauge", "Of the pods that wait.",
      static_cast<double>(waiting.longest_us) / 1e6);
}

}  // namespace basalt::service
