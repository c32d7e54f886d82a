// `basalt serve`: the placement server (adapters/rpc/serve.h). Options override the file.
#include "adapters/rpc/serve.h"

#include <memory>
#include <string>
#include <vector>

#include "adapters/service/config.h"
#include "cli/common.h"
#include "cli/version.h"
#include "devices/catalog.h"
#include "topology/files/catalog.h"
#include "topology/synthetic.h"

namespace basalt::cli {
namespace {

constexpr std::size_t kMaxConfigBytes = std::size_t{16} << 20;

struct ServeInput {
  std::string config;
  std::vector<std::string> clusters;
  std::string policy;
  std::string listen, listen_unix, http, store, fsync, skus;
  std::string tls_cert, tls_key, tls_client_ca;
  std::int64_t record_mib = -1;
  bool shadow = false;
  std::int64_t max_waiting = -1;
  std::int64_t drain_timeout_s = -1;
  bool insecure_remote = false;
  bool check = false;
};

void Override(const std::string& option, std::string* value) {
  if (!option.empty()) *value = option;
}

// The catalog's machine types, for nodes that do not tell how they are wired.
std::vector<service::KnownMachine> KnownMachines() {
  std::vector<service::KnownMachine> out;
  for (const std::string& name : topology::CatalogNames()) {
    const auto entry = topology::FindCatalogEntry(name);
    out.push_back({entry->card_model, entry->graph.cards(), topology::FormatGraph(entry->graph)});
  }
  return out;
}

// The file's text (or `text`, when it is given instead) with the options over it.
Result<service::ServerConfig> Configured(const ServeInput& input, const Registry& registry,
                                         const std::string& text) {
  service::ServerConfig config;
  if (!text.empty()) {
    auto parsed = service::ParseServerConfig("reload", text);
    if (!parsed) return tl::unexpected<Error>(parsed.error());
    config = std::move(*parsed);
  } else if (!input.config.empty()) {
    const auto bytes = ReadFile(input.config, kMaxConfigBytes);
    if (!bytes) return tl::unexpected<Error>(bytes.error());
    auto parsed = service::ParseServerConfig(input.config, *bytes);
    if (!parsed) return tl::unexpected<Error>(parsed.error());
    config = std::move(*parsed);
  }
  if (!input.clusters.empty()) {
    if (!config.clusters.empty()) {
      return Fail("--cluster", "the file names the clusters; leave the option away");
    }
    for (const std::string& id : input.clusters) {
      if (id.empty()) return Fail("--cluster", "has no name");
      for (const service::ClusterConfig& other : config.clusters) {
        if (other.id == id) return Fail("--cluster " + id, "stands twice");
      }
      service::ClusterConfig cluster;
      cluster.id = id;
      config.clusters.push_back(std::move(cluster));
    }
  }
  if (config.clusters.empty()) {
    config.clusters.emplace_back();
    config.clusters.back().id = "default";
  }
  for (service::ClusterConfig& cluster : config.clusters) {
    Override(input.policy, &cluster.policy);
    if (const auto policy = registry.Configure(cluster.policy); !policy) {
      return Fail(!input.policy.empty()        ? "--policy"
                  : !cluster.policy_at.empty() ? cluster.policy_at
                                               : "cluster " + cluster.id,
                  policy.error().ToString());
    }
  }
  Override(input.listen, &config.listen_grpc);
  Override(input.listen_unix, &config.listen_unix);
  Override(input.http, &config.listen_http);
  if (config.listen_grpc.empty() && config.listen_unix.empty()) {
    config.listen_grpc = "127.0.0.1:7070";
    if (config.listen_http.empty()) config.listen_http = "127.0.0.1:7071";
  }
  if (config.listen_http == "none") config.listen_http.clear();
  Override(input.store, &config.store);
  Override(input.fsync, &config.fsync);
  Override(input.skus, &config.skus);
  Override(input.tls_cert, &config.tls_cert);
  Override(input.tls_key, &config.tls_key);
  Override(input.tls_client_ca, &config.tls_client_ca);
  if (input.record_mib >= 0) config.record_mib = input.record_mib;
  if (config.record_mib > 0 && config.store.empty()) {
    return Fail("--record", "needs a store; name one with --store");
  }
  if (input.shadow) {
    for (service::ClusterConfig& cluster : config.clusters) cluster.shadow = true;
  }
  if (input.max_waiting >= 0) config.max_waiting = input.max_waiting;
  if (input.drain_timeout_s >= 0) config.drain_timeout_s = input.drain_timeout_s;
  return config;
}

}  // namespace

void AddServe(CLI::App* app, Context* context) {
  auto input = std::make_shared<ServeInput>();
  app->add_option("--config", input->config, "configuration file (docs/serve.md)")
      ->type_name("FILE");
  app->add_option("--cluster", input->clusters,
                  "a cluster to decide for, instead of the file's; may be repeated (default: "
                  "default)")
      ->type_name("NAME");
  app->add_option("--policy", input->policy, "placement policy of all clusters")
      ->type_name("POLICY");
  app->add_option("--listen", input->listen, "gRPC (default 127.0.0.1:7070, if no socket is named)")
      ->type_name("HOST:PORT");
  app->add_option("--listen-unix", input->listen_unix, "gRPC on a Unix socket, mode 0660")
      ->type_name("PATH");
  app->add_option("--http", input->http,
                  "extenders, metrics and health; none (default 127.0.0.1:7071, if no listener is "
                  "named)")
      ->type_name("HOST:PORT");
  app->add_option("--store", input->store,
                  "folder of journals and snapshots; without it nothing "
                  "is kept")
      ->type_name("DIR");
  app->add_option("--fsync", input->fsync, "always, never, or every so often: 10ms")
      ->type_name("WHEN");
  app->add_option("--record", input->record_mib,
                  "keep so much of each cluster's past for basalt replay (default 0: nothing)")
      ->type_name("MIB")
      ->check(CLI::Range(0, 10'000'000));
  app->add_flag("--shadow", input->shadow,
                "look on beside another scheduler in all clusters, and take nothing");
  app->add_option("--skus", input->skus, "file of SKUs (docs/slices.md)")->type_name("FILE");
  app->add_option("--tls-cert", input->tls_cert, "certificate chain, PEM")->type_name("FILE");
  app->add_option("--tls-key", input->tls_key, "its key, PEM")->type_name("FILE");
  app->add_option("--tls-client-ca", input->tls_client_ca,
                  "clients must show a certificate of this CA")
      ->type_name("FILE");
  app->add_flag("--insecure-remote", input->insecure_remote,
                "listen where other machines can reach it, without TLS");
  app->add_option("--max-waiting", input->max_waiting,
                  "calls that may wait for a cluster's engine (default 256)")
      ->check(CLI::Range(1, 100'000));
  app->add_option("--drain-timeout", input->drain_timeout_s,
                  "after TERM, seconds for leases to be confirmed or given back (default 30)")
      ->check(CLI::Range(0, 3600));
  app->add_flag("--check", input->check, "check options and file, and leave");
  app->callback([input, context] {
    rpc::ServeOptions options;
    options.load = [input, context](const std::string& text) {
      return Configured(*input, context->registry, text);
    };
    auto config = options.load("");
    if (!config) return context->BadInput(config.error());
    options.config = std::move(*config);
    options.insecure_remote = input->insecure_remote;
    options.version = kVersion;
    options.machines = KnownMachines();
    const devices::Catalog catalog = devices::EmbeddedCatalog();
    const Status done = input->check ? rpc::CheckServe(options, context->registry, catalog)
                                     : rpc::Serve(options, context->registry, catalog);
    if (!done) context->BadInput(done.error());
  });
}

}  // namespace basalt::cli
