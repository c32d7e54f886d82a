// The server's configuration file: clusters, store, listeners and rights, read by one option table
// (docs/reference). What a service needs of it is ClusterConfig and the access rules; the rest is
// for the shells.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "adapters/service/access.h"
#include "scheduler-core/base/result.h"

namespace basalt::service {

// A machine type of the topology's catalog (topology/files/catalog.h).
struct KnownMachine {
  std::string card_model = {};
  int cards = 0;
  std::string description = {};  // topology/synthetic.h
};

struct ClusterConfig {
  std::string id = {};  // header.cluster
  std::string policy = "binpack/topology";
  std::string policy_at = {};  // file:line:column that names it; empty: none does
  std::int64_t seed = 0;
  std::map<int, std::string> tier_names = {};
  // Tiers whose domain is the value of this label of nodes; what is synced of a tier wins.
  std::map<int, std::string> tier_labels = {};
  bool needs_queues = false;  // not ready before the queues are synced, too
  // Nodes and pods are learned from what stock extenders are asked about: it decides at once, of
  // what it has seen. For clusters in which nothing syncs.
  bool learn = false;
  bool guess_wiring = false;  // nodes that tell nothing are wired as the catalog's one type of them
  std::int64_t lease_ttl_us = 60'000'000;
  std::int64_t max_lease_ttl_us = 3'600'000'000;
  // Different asks that are known at a time. Those that no pod holds are forgotten when they are
  // many; calls with new ones are refused while that does not help.
  std::int64_t max_asks = 65'536;
  // Fragmentation is measured against these SKUs, one of each; empty: not measured, fgd is refused.
  std::vector<std::string> target_skus = {};
  // Looks on beside another scheduler: nothing is taken and nothing is told to anybody.
  bool shadow = false;
};

struct ServerConfig {
  std::string listen_unix = {};  // path of the gRPC socket; empty: none
  std::string listen_grpc = {};  // host:port; empty: none
  std::string listen_http = {};
  std::string tls_cert = {}, tls_key = {}, tls_client_ca = {};
  std::string skus = {};           // file (devices/sku.h); empty: none
  std::string store = {};          // folder; empty: nothing is kept
  std::string fsync = "always";    // "always", "never", or an interval: "10ms"
  std::int64_t snapshot_mib = 64;  // a new snapshot when the journal is larger
  std::int64_t record_mib = 0;     // of each cluster is kept for replays; 0: nothing
  std::int64_t drain_timeout_s = 30;
  std::int64_t max_waiting = 256;  // calls that wait for a cluster's engine
  // Of each identity, on average and at once; 0 calls: no limit, 0 burst: a second's worth.
  std::int64_t calls_per_second = 0, calls_burst = 0;
  std::vector<ClusterConfig> clusters = {};
  std::vector<AccessRule> access = {};
};

// Errors: all faults as file:line:column; no cluster, or an id twice.
Result<ServerConfig> ParseServerConfig(const std::string& file, const std::string& text);
// The keys as Markdown tables.
std::string ServerConfigKeys();

}  // namespace basalt::service
