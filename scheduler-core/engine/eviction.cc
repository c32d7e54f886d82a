#include "scheduler-core/engine/eviction.h"

#include "scheduler-core/engine/engine.h"
#include "scheduler-core/engine/eviction_search.h"

namespace basalt {

std::string Engine::FirmlyRefused(const Amounts& least, const Standing& standing) {
  const QueueId leaf = quotas_.LeafOf(standing.queue);
  if (!leaf.valid()) return "";
  quotas_.CatchUp(state_);
  const auto refusal = queues().FirmRefusal(leaf, least, standing.preemptible);
  // The hardware's own limits are the state's to say.
  const bool hardware = refusal && refusal->queue == QueueTree::kRoot &&
                        refusal->kind == QuotaRefusal::Kind::kCapacity;
  if (!refusal || hardware) return "";
  return "no eviction helps, counting only what is not preemptible: " + queues().Describe(*refusal);
}

EvictionPlan Engine::ProposeEviction(const Request& request, const EvictionRules& rules,
                                     SimTime now, const FairShares* shares) {
  now = Forward(now);
  Expire(now);
  EvictionPlan plan;
  if (Find(request.uid) != nullptr) {
    plan.reason = "it holds places already";
    return plan;
  }
  const Quotas::Check quota = quotas_.MayAsk(state_, {{request.shape}}, request.standing);
  if (quota.answer >= Quotas::Check::Answer::kNever || !PossibleWhenEmpty(request.shape)) {
    plan.reason = quota.reason.empty() ? "it does not fit even when nothing runs" : quota.reason;
    return plan;
  }
  plan.reason = FirmlyRefused(quotas_.Ask(state_, request.shape), request.standing);
  if (!plan.reason.empty()) return plan;
  return EvictionSearch(*this, rules, request.standing, now, shares).ForPod(request);
}

Result<EvictionPlan> Engine::ProposeEviction(const GangRequest& request, const EvictionRules& rules,
                                             SimTime now, const FairShares* shares) {
  now = Forward(now);
  Expire(now);
  const Gang* held = FindGang(request.uid);
  if (Status ok = CheckGang(request, held); !ok) return tl::unexpected<Error>(ok.error());
  const Standing standing = held != nullptr ? held->standing : request.standing;
  if (!standing.queue.empty() && !quotas_.LeafOf(standing.queue).valid()) {
    return Fail("gang " + UidText(request.uid), "queue '" + standing.queue + "' is no leaf");
  }
  return EvictionSearch(*this, rules, standing, now, shares).ForGang(request);
}

}  // namespace basalt
