#include "adapters/service/config.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <string_view>

#include "scheduler-core/config/options.h"
#include "topology/network.h"

namespace basalt::service {
namespace {

using config::OptionTable;

struct TierRow {
  std::int64_t tier = 0;
  std::string name, label;
};
struct ClusterRow {
  std::string id, policy = ClusterConfig{}.policy;
  std::string needs_queues = "no", guess_wiring = "no", learn = "no", mode = "schedule";
  std::int64_t seed = 0, lease_ttl_s = 60, max_lease_ttl_s = 3600;
  std::int64_t max_asks = ClusterConfig{}.max_asks;
  std::vector<TierRow> tiers;
  std::vector<std::string> target_skus;
};
struct AccessRow {
  std::string identity, role = "scheduler";
  std::vector<std::string> tenants, queues, skus;
  std::int64_t calls_per_second = -1, calls_burst = 0;
};
struct FileRow {
  ServerConfig server;
  std::string listen_unix, listen_grpc, listen_http, tls_cert, tls_key, tls_client_ca, skus, store;
  std::string fsync = "always";
  std::int64_t snapshot_mib = 64, record_mib = 0, drain_timeout_s = 30, max_waiting = 256,
               calls_per_second = 0, calls_burst = 0;
};

const OptionTable<TierRow>& TierKeys() {
  static const auto table =
      OptionTable<TierRow>()
          .Integer({.name = "tier",
                    .help = "its number, from narrow to wide",
                    .low = 1,
                    .high = topology::kMaxTiers,
                    .required = true},
                   &TierRow::tier)
          .Text({.name = "name", .help = "what it is called", .required = true}, &TierRow::name)
          .Text({.name = "label",
                 .help = "label of nodes whose value is the domain, where no HyperNode says it"},
                &TierRow::label);
  return table;
}

const OptionTable<ClusterRow>& ClusterKeys() {
  static const auto table =
      OptionTable<ClusterRow>()
          .Text({.name = "id", .help = "what calls name it by", .required = true}, &ClusterRow::id)
          .Text({.name = "policy",
                 .help = "placement policy",
                 .default_value = ClusterConfig{}.policy},
                &ClusterRow::policy)
          .Integer({.name = "seed",
                    .help = "of policies that draw random numbers",
                    .default_value = "0",
                    .low = 0,
                    .high = 9e15},
                   &ClusterRow::seed)
          .Maps({.name = "tiers", .help = "names of the network tiers"}, &ClusterRow::tiers,
                TierKeys())
          .Text({.name = "needs_queues",
                 .help = "yes: no decision before the queues are synced",
                 .default_value = "no"},
                &ClusterRow::needs_queues)
          .Text({.name = "learn",
                 .help = "yes: nodes and pods are learned from the stock extenders' bodies, and "
                         "nothing needs to sync",
                 .default_value = "no"},
                &ClusterRow::learn)
          .Text(
              {.name = "guess_wiring",
               .help = "yes: nodes that tell nothing are wired as the catalog's type with as many "
                       "such cards, if it has one",
               .default_value = "no"},
              &ClusterRow::guess_wiring)
          .Integer({.name = "lease_ttl_s",
                    .help = "a lease lives so long unconfirmed, unless the caller says",
                    .default_value = "60",
                    .unit = "s",
                    .low = 1,
                    .high = 86400},
                   &ClusterRow::lease_ttl_s)
          .Integer({.name = "max_lease_ttl_s",
                    .help = "and no caller may say more",
                    .default_value = "3600",
                    .unit = "s",
                    .low = 1,
                    .high = 86400},
                   &ClusterRow::max_lease_ttl_s)
          .Integer({.name = "max_asks",
                    .help = "different asks known at a time; those that no pod holds are forgotten",
                    .default_value = "65536",
                    .low = 1000,
                    .high = 1'000'000},
                   &ClusterRow::max_asks)
          .Text({.name = "mode",
                 .help = "schedule, or shadow: look on beside another scheduler and take nothing",
                 .default_value = "schedule"},
                &ClusterRow::mode)
          .TextList({.name = "target_skus",
                     .help = "fragmentation is measured against these SKUs, one of each",
                     .default_value = "not measured"},
                    &ClusterRow::target_skus);
  return table;
}

const OptionTable<AccessRow>& AccessKeys() {
  static const auto table =
      OptionTable<AccessRow>()
          .Text({.name = "identity",
                 .help = "a certificate's URI or common name; http: who comes over HTTP",
                 .required = true},
                &AccessRow::identity)
          .Text(
              {.name = "role", .help = "viewer, scheduler or admin", .default_value = "scheduler"},
              &AccessRow::role)
          .TextList({.name = "tenants",
                     .help = "queues under which it may place pods",
                     .default_value = "all"},
                    &AccessRow::tenants)
          .TextList({.name = "queues",
                     .help = "queues in which it may place pods",
                     .default_value = "all"},
                    &AccessRow::queues)
          .TextList({.name = "skus", .help = "SKUs that it may use", .default_value = "all"},
                    &AccessRow::skus)
          .Integer({.name = "calls_per_second",
                    .help = "its own limit; 0: none",
                    .default_value = "as everybody's",
                    .low = 0,
                    .high = 1'000'000},
                   &AccessRow::calls_per_second)
          .Integer({.name = "calls_burst",
                    .help = "calls at once, after a pause",
                    .default_value = "a second's worth",
                    .low = 1,
                    .high = 1'000'000},
                   &AccessRow::calls_burst);
  return table;
}

OptionTable<FileRow>& AddLists(OptionTable<FileRow>& table) {
  table.Custom(
      {.name = "clusters", .help = "the clusters", .type = "list of maps", .required = true},
      [](const std::string& file, const YAML::Node& node, const config::OptionInfo& option,
         FileRow* out, config::Errors* errors) {
        if (!config::CheckList(file, node, option, errors)) return;
        for (const YAML::Node& item : node) {
          ClusterRow row;
          ClusterKeys().Parse(file, item, &row, errors);
          ClusterConfig cluster;
          cluster.id = row.id;
          cluster.policy = row.policy;
          if (item.IsMap() && item["policy"]) {
            config::Errors place;
            place.Add(file, item["policy"], "");
            cluster.policy_at = place.list().front().where;
          }
          cluster.seed = row.seed;
          cluster.lease_ttl_us = row.lease_ttl_s * 1'000'000;
          cluster.max_lease_ttl_us = row.max_lease_ttl_s * 1'000'000;
          cluster.max_asks = row.max_asks;
          cluster.target_skus = row.target_skus;
          cluster.needs_queues = row.needs_queues == "yes";
          cluster.learn = row.learn == "yes";
          cluster.guess_wiring = row.guess_wiring == "yes";
          cluster.shadow = row.mode == "shadow";
          if (row.mode != "schedule" && row.mode != "shadow") {
            errors->Add(file, item, "mode is schedule or shadow");
          }
          for (const TierRow& tier : row.tiers) {
            cluster.tier_names[static_cast<int>(tier.tier)] = tier.name;
            if (!tier.label.empty()) cluster.tier_labels[static_cast<int>(tier.tier)] = tier.label;
          }
          if (row.learn != "yes" && row.learn != "no") {
            errors->Add(file, item, "learn is yes or no");
          }
          if (cluster.learn && cluster.needs_queues) {
            errors->Add(file, item, "learn and needs_queues: queues are not learned");
          }
          if (row.guess_wiring != "yes" && row.guess_wiring != "no") {
            errors->Add(file, item, "guess_wiring is yes or no");
          }
          if (row.needs_queues != "yes" && row.needs_queues != "no") {
            errors->Add(file, item, "needs_queues is yes or no");
          }
          if (row.lease_ttl_s > row.max_lease_ttl_s) {
            errors->Add(file, item, "lease_ttl_s is more than max_lease_ttl_s");
          }
          const bool twice = std::ranges::any_of(
              out->server.clusters, [&](const ClusterConfig& other) { return other.id == row.id; });
          if (twice) errors->Add(file, item, "cluster \"" + row.id + "\" stands twice");
          out->server.clusters.push_back(std::move(cluster));
        }
        if (out->server.clusters.empty()) {
          errors->Add(file, node, "names no cluster; write at least one");
        }
      });
  table.Custom({.name = "access",
                .help = "who may do what; without it every caller may do everything",
                .type = "list of maps"},
               [](const std::string& file, const YAML::Node& node, const config::OptionInfo& option,
                  FileRow* out, config::Errors* errors) {
                 if (!config::CheckList(file, node, option, errors)) return;
                 for (const YAML::Node& item : node) {
                   AccessRow row;
                   AccessKeys().Parse(file, item, &row, errors);
                   const Result<Role> role = ParseRole(row.role);
                   if (!role) errors->Add(file, item, role.error().message);
                   out->server.access.push_back(
                       AccessRule{row.identity, role.value_or(Role::kViewer), row.tenants,
                                  row.queues, row.skus, row.calls_per_second, row.calls_burst});
                 }
               });
  return table;
}

config::OptionInfo Text(std::string name, std::string help, std::string value = "none") {
  return {.name = std::move(name), .help = std::move(help), .default_value = std::move(value)};
}

const OptionTable<FileRow>& FileKeys() {
  static const OptionTable<FileRow> table = [] {
    OptionTable<FileRow> t;
    t.Text(Text("listen_unix", "path of the gRPC socket"), &FileRow::listen_unix)
        .Text(Text("listen_grpc", "host:port of gRPC"), &FileRow::listen_grpc)
        .Text(Text("listen_http", "host:port of the extenders, metrics and health"),
              &FileRow::listen_http)
        .Text(Text("tls_cert", "certificate chain, PEM"), &FileRow::tls_cert)
        .Text(Text("tls_key", "its key, PEM"), &FileRow::tls_key)
        .Text(Text("tls_client_ca", "clients must have a certificate of this CA, PEM"),
              &FileRow::tls_client_ca)
        .Text(Text("skus", "file of SKUs"), &FileRow::skus)
        .Text(Text("store", "folder of journals and snapshots", "nothing is kept"), &FileRow::store)
        .Text(Text("fsync", "always, never, or an interval: 10ms", "always"), &FileRow::fsync)
        .Integer({.name = "snapshot_mib",
                  .help = "a new snapshot when the journal is larger",
                  .default_value = "64",
                  .unit = "MiB",
                  .low = 1,
                  .high = 4096},
                 &FileRow::snapshot_mib)
        .Integer({.name = "record_mib",
                  .help = "keep so much of each cluster's past for `basalt replay`; 0: nothing",
                  .default_value = "0",
                  .unit = "MiB",
                  .low = 0,
                  .high = 10'000'000},
                 &FileRow::record_mib)
        .Integer({.name = "drain_timeout_s",
                  .help = "wait so long for leases before stopping",
                  .default_value = "30",
                  .unit = "s",
                  .low = 0,
                  .high = 3600},
                 &FileRow::drain_timeout_s)
        .Integer({.name = "max_waiting",
                  .help = "calls that may wait for a cluster's engine; more are refused",
                  .default_value = "256",
                  .low = 1,
                  .high = 100'000},
                 &FileRow::max_waiting)
        .Integer({.name = "calls_per_second",
                  .help = "calls that an identity may make; 0: any number",
                  .default_value = "0",
                  .low = 0,
                  .high = 1'000'000},
                 &FileRow::calls_per_second)
        .Integer({.name = "calls_burst",
                  .help = "calls at once, after a pause",
                  .default_value = "a second's worth",
                  .low = 1,
                  .high = 1'000'000},
                 &FileRow::calls_burst);
    AddLists(t);
    return t;
  }();
  return table;
}

bool IsFsync(const std::string& text) {
  if (text == "always" || text == "never") return true;
  std::int64_t ms = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, ms);
  return error == std::errc() && std::string_view(rest, end) == "ms" && ms >= 1 && ms <= 60'000;
}

}  // namespace

Result<ServerConfig> ParseServerConfig(const std::string& file, const std::string& text) {
  const auto document = config::ParseYaml(file, text);
  if (!document) return tl::unexpected<Error>(document.error());
  config::Errors errors;
  FileRow row;
  FileKeys().Parse(file, document->root, &row, &errors);
  if (!IsFsync(row.fsync)) {
    errors.Add(file, document->root["fsync"], "fsync is always, never, or 1ms to 60000ms");
  }
  if (row.tls_cert.empty() != row.tls_key.empty()) {
    errors.Add(file, document->root, "tls_cert and tls_key belong together");
  }
  if (row.record_mib > 0 && row.store.empty()) {
    errors.Add(file, document->root["record_mib"], "record_mib needs a store; write store: FOLDER");
  }
  if (!errors.ok()) return tl::unexpected<Error>(errors.Joined());
  ServerConfig out = std::move(row.server);
  out.listen_unix = row.listen_unix;
  out.listen_grpc = row.listen_grpc;
  out.listen_http = row.listen_http;
  out.tls_cert = row.tls_cert;
  out.tls_key = row.tls_key;
  out.tls_client_ca = row.tls_client_ca;
  out.skus = row.skus;
  out.store = row.store;
  out.fsync = row.fsync;
  out.snapshot_mib = row.snapshot_mib;
  out.record_mib = row.record_mib;
  out.drain_timeout_s = row.drain_timeout_s;
  out.max_waiting = row.max_waiting;
  out.calls_per_second = row.calls_per_second;
  out.calls_burst = row.calls_burst;
  return out;
}

std::string ServerConfigKeys() {
  return config::ReferenceTable(FileKeys().infos()) + "\n`clusters`:\n\n" +
         config::ReferenceTable(ClusterKeys().infos()) + "\n`tiers`:\n\n" +
         config::ReferenceTable(TierKeys().infos()) + "\n`access`:\n\n" +
         config::ReferenceTable(AccessKeys().infos());
}

}  // namespace basalt::service
