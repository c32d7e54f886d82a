// `basalt serve`: the process. Recovers each cluster from the store, listens, keeps time, and obeys
// signals: TERM and INT drain and stop, HUP reads the configuration again.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "adapters/service/config.h"
#include "devices/catalog.h"
#include "scheduler-core/base/result.h"
#include "scheduler-core/engine/registry.h"

namespace basalt::rpc {

struct ServeOptions {
  service::ServerConfig config = {};
  bool insecure_remote = false;  // listen where others can reach it, without TLS
  std::string version = {};
  std::vector<service::KnownMachine> machines = {};  // for clusters with guess_wiring
  // The configuration anew: from this text, or from where `config` came when it is empty.
  std::function<Result<service::ServerConfig>(const std::string& yaml)> load;
};

// What can be wrong before anything is listened to or written: addresses, TLS, who can reach it,
// the file of SKUs, what clusters say, how often the store syncs.
Status CheckServe(const ServeOptions& options, const Registry& registry,
                  const devices::Catalog& catalog);

// Returns when it was told to stop and has. Errors: bad input, as for CheckServe; a store that is
// in use, damaged or not writable; an address that is taken. What happens is said on stderr, one
// JSON object a line.
Status Serve(const ServeOptions& options, const Registry& registry,
             const devices::Catalog& catalog);

}  // namespace basalt::rpc
