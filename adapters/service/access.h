// Who may ask for what. A caller is an identity that the shell has verified (a certificate's URI or
// common name, the user of a Unix socket). Without any rule everybody may do everything; with rules
// a remote caller must be named by one, and a local one that is not named may do everything.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/base/result.h"
#include "scheduler-core/queueing/queue_tree.h"
#include "scheduler-core/workload/standing.h"

namespace basalt::service {

struct Caller {
  std::string identity = {};
  bool local = false;  // over the Unix socket or in process
};

enum class Role : std::uint8_t {
  kViewer,     // explains, watches, reads
  kScheduler,  // and decides, syncs, acts
  kAdmin,      // and operates the server
};
Result<Role> ParseRole(std::string_view name);

// Empty lists: no limit of that kind. Queues are allowed by a list of leaves, or by tenants: queues
// under which all are allowed.
struct AccessRule {
  std::string identity = {};
  Role role = Role::kScheduler;
  std::vector<std::string> tenants = {};
  std::vector<std::string> queues = {};
  std::vector<std::string> skus = {};
  // Of the shells' (ServerConfig has what they mean); -1: as everybody's.
  std::int64_t calls_per_second = -1;
  std::int64_t calls_burst = 0;
};

class Access {
 public:
  Access() = default;
  explicit Access(std::vector<AccessRule> rules) : rules_(std::move(rules)) {}
  bool MayRead(const Caller& caller) const { return Has(caller, Role::kViewer); }
  bool MayAdminister(const Caller& caller) const { return Has(caller, Role::kAdmin); }
  // Sync, usage, actions.
  Status MayFeed(const Caller& caller) const;
  // Of this queue and SKU, without deciding anything (Explain).
  Status MayAsk(const Caller& caller, const Standing& standing, const QueueTree& tree) const;
  // Whether a rule keeps the caller to some queues or tenants: then it reads no other's names.
  bool IsLimited(const Caller& caller) const;
  // Decide for this queue and SKU.
  Status MayDecide(const Caller& caller, const Standing& standing, const QueueTree& tree) const;

 private:
  bool Has(const Caller& caller, Role role) const;
  const AccessRule* RuleOf(const Caller& caller) const;
  std::vector<AccessRule> rules_;
};

}  // namespace basalt::service
