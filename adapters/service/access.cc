#include "adapters/service/access.h"

#include <algorithm>

namespace basalt::service {

Result<Role> ParseRole(std::string_view name) {
  if (name == "viewer") return Role::kViewer;
  if (name == "scheduler") return Role::kScheduler;
  if (name == "admin") return Role::kAdmin;
  return Fail("", "\"" + std::string(name) + "\" is no role; one of viewer, scheduler, admin");
}

const AccessRule* Access::RuleOf(const Caller& caller) const {
  const auto it = std::find_if(rules_.begin(), rules_.end(), [&](const AccessRule& rule) {
    return rule.identity == caller.identity;
  });
  return it == rules_.end() ? nullptr : &*it;
}

bool Access::Has(const Caller& caller, Role role) const {
  const AccessRule* rule = RuleOf(caller);
  return rule != nullptr ? rule->role >= role : caller.local || rules_.empty();
}

Status Access::MayFeed(const Caller& caller) const {
  if (Has(caller, Role::kScheduler)) return {};
  return Fail("access", "\"" + caller.identity + "\" may not change this cluster");
}

bool Access::IsLimited(const Caller& caller) const {
  const AccessRule* rule = RuleOf(caller);
  return rule != nullptr && (!rule->queues.empty() || !rule->tenants.empty());
}

Status Access::MayDecide(const Caller& caller, const Standing& standing,
                         const QueueTree& tree) const {
  if (!Has(caller, Role::kScheduler)) {
    return Fail("access", "\"" + caller.identity + "\" may not place pods");
  }
  return MayAsk(caller, standing, tree);
}

Status Access::MayAsk(const Caller& caller, const Standing& standing, const QueueTree& tree) const {
  if (!MayRead(caller)) {
    return Fail("access", "\"" + caller.identity + "\" may not read this cluster");
  }
  const AccessRule* rule = RuleOf(caller);
  if (rule == nullptr) return {};
  const auto among = [](const std::vector<std::string>& list, const std::string& name) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  if (!standing.sku.empty() && !rule->skus.empty() && !among(rule->skus, standing.sku)) {
    return Fail("access", "\"" + caller.identity + "\" may not use the SKU " + standing.sku);
  }
  if (rule->queues.empty() && rule->tenants.empty()) return {};
  if (among(rule->queues, standing.queue)) return {};
  if (const auto queue = tree.Find(standing.queue)) {
    for (const std::string& tenant : rule->tenants) {
      const auto top = tree.Find(tenant);
      if (top && tree.IsUnder(*queue, *top)) return {};
    }
  }
  return Fail("access", "\"" + caller.identity + "\" may not use " +
                            (standing.queue.empty() ? "work without a queue"
                                                    : "the queue " + standing.queue));
}

}  // namespace basalt::service
