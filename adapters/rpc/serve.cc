#include "adapters/rpc/serve.h"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <algorithm>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <thread>
#include <utility>

#include "adapters/http/http_server.h"
#include "adapters/http/routes.h"
#include "adapters/rpc/grpc_server.h"
#include "adapters/rpc/listener.h"
#include "adapters/rpc/log.h"
#include "adapters/rpc/rooms.h"
#include "adapters/store/file_store.h"
#include "devices/sku.h"

namespace basalt::rpc {
namespace {

constexpr std::chrono::milliseconds kTick{100};

TlsFiles TlsOf(const service::ServerConfig& config) {
  return {.certificate = config.tls_cert, .key = config.tls_key, .client_ca = config.tls_client_ca};
}

struct Places {
  std::vector<Address> grpc;
  std::vector<Address> http;  // one or none
};

Result<Places> PlacesOf(const service::ServerConfig& config) {
  Places places;
  if (!config.listen_unix.empty()) {
    auto address = ParseAddress("--listen-unix", "unix:" + config.listen_unix);
    if (!address) return tl::unexpected<Error>(address.error());
    places.grpc.push_back(std::move(*address));
  }
  if (!config.listen_grpc.empty()) {
    auto address = ParseAddress("--listen", config.listen_grpc);
    if (!address) return tl::unexpected<Error>(address.error());
    places.grpc.push_back(std::move(*address));
  }
  if (!config.listen_http.empty()) {
    auto address = ParseAddress("--http", config.listen_http);
    if (!address) return tl::unexpected<Error>(address.error());
    if (address->is_unix()) return Fail("--http", "write HOST:PORT: HTTP has no Unix socket here");
    places.http.push_back(std::move(*address));
  }
  if (places.grpc.empty()) {
    return Fail("--listen", "say where gRPC listens: --listen HOST:PORT or --listen-unix PATH");
  }
  return places;
}

// What a reload cannot change; empty: nothing of it differs.
std::string NeedsRestart(const service::ServerConfig& now, const service::ServerConfig& wanted) {
  const auto ids = [](const service::ServerConfig& config) {
    std::vector<std::string> list;
    for (const service::ClusterConfig& cluster : config.clusters) list.push_back(cluster.id);
    std::ranges::sort(list);
    return list;
  };
  if (ids(now) != ids(wanted)) return "clusters";
  if (now.listen_unix != wanted.listen_unix) return "listen_unix";
  if (now.listen_grpc != wanted.listen_grpc) return "listen_grpc";
  if (now.listen_http != wanted.listen_http) return "listen_http";
  if (now.tls_cert != wanted.tls_cert || now.tls_key != wanted.tls_key ||
      now.tls_client_ca != wanted.tls_client_ca) {
    return "the TLS files";
  }
  if (now.store != wanted.store || now.fsync != wanted.fsync) return "store and fsync";
  if (now.record_mib != wanted.record_mib) return "record_mib";
  for (const service::ClusterConfig& cluster : now.clusters) {
    for (const service::ClusterConfig& other : wanted.clusters) {
      if (cluster.id == other.id && cluster.shadow != other.shadow) return "mode";
    }
  }
  if (now.skus != wanted.skus) return "skus";
  if (now.max_waiting != wanted.max_waiting) return "max_waiting";
  return "";
}

// Puts a configuration into the rooms, whole or not at all.
class Reloader {
 public:
  Reloader(const ServeOptions& options, const service::Environment& environment, Rooms* rooms)
      : load_(options.load), config_(options.config), environment_(environment), rooms_(rooms) {}

  pb::ReloadResponse Run(const std::string& yaml, bool dry_run) {
    const std::scoped_lock lock(mutex_);
    pb::ReloadResponse response;
    const auto wanted = load_(yaml);
    if (!wanted) {
      response.add_errors(wanted.error().ToString());
      return response;
    }
    if (const std::string fixed = NeedsRestart(config_, *wanted); !fixed.empty()) {
      response.add_errors(fixed + ": changes only with a restart");
      return response;
    }
    for (const service::ClusterConfig& cluster : wanted->clusters) {
      if (const auto policy = environment_.registry->Configure(cluster.policy); !policy) {
        response.add_errors("cluster " + cluster.id + ": " + policy.error().ToString());
      }
      if (const auto engine = service::EngineOptionsOf(cluster, environment_); !engine) {
        response.add_errors(engine.error().ToString());
      }
    }
    if (response.errors_size() > 0 || dry_run) return response;
    for (std::size_t i = 0; i < wanted->clusters.size(); ++i) {
      const Status ok = Put(wanted->clusters[i], *wanted);
      if (ok) continue;
      response.add_errors(wanted->clusters[i].id + ": " + ok.error().ToString());
      // The clusters before it go back to what was accepted once.
      for (std::size_t j = 0; j < i; ++j) {
        for (const service::ClusterConfig& old : config_.clusters) {
          if (old.id == wanted->clusters[j].id) static_cast<void>(Put(old, config_));
        }
      }
      return response;
    }
    rooms_->limits().Configure(*wanted);
    config_ = *wanted;
    response.set_applied(true);
    return response;
  }

 private:
  Status Put(const service::ClusterConfig& cluster, const service::ServerConfig& from) {
    return rooms_->Find(cluster.id)->With([&](service::Service& service, SimTime now) {
      return service.Reload(cluster, service::Access(from.access), now);
    });
  }

  std::function<Result<service::ServerConfig>(const std::string&)> load_;
  std::mutex mutex_;
  service::ServerConfig config_;
  const service::Environment& environment_;
  Rooms* rooms_;
};

// Calls `tick` every so often until it goes.
class Ticker {
 public:
  Ticker(std::chrono::milliseconds every, std::function<void()> tick)
      : thread_([this, every, tick = std::move(tick)] {
          std::unique_lock<std::mutex> lock(mutex_);
          while (!stop_.wait_for(lock, every, [this] { return stopped_; })) {
            lock.unlock();
            tick();
            lock.lock();
          }
        }) {}
  ~Ticker() {
    {
      const std::scoped_lock lock(mutex_);
      stopped_ = true;
    }
    stop_.notify_all();
    thread_.join();
  }
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopped_ = false;
  std::thread thread_;  // last: it uses the others
};

// A number for a server that keeps none: larger with every start, if its clock is right. Seconds
// since 2026; it has room for eight years.
std::uint64_t BootOfClock() {
  constexpr std::int64_t k2026 = 1'767'225'600;
  const std::int64_t now = std::chrono::duration_cast<std::chrono::seconds>(
                               std::chrono::system_clock::now().time_since_epoch())
                               .count();
  return static_cast<std::uint64_t>(std::clamp<std::int64_t>(now - k2026, 1, (1 << 28) - 1));
}

// Without a folder nothing is kept: what is appended is dropped, and nobody waits for it.
class NoStore : public service::Store {
 public:
  Result<JournalSink*> Begin(const std::string&, std::string_view) override { return &nowhere_; }
  std::uint64_t Position(const std::string&) const override { return 0; }
  std::int64_t JournalBytes(const std::string&) const override { return 0; }
  std::string ErrorOf(const std::string&) const override { return ""; }

 private:
  struct Nowhere : JournalSink {
    void Append(const JournalRecord&) override {}
  };
  Nowhere nowhere_;
};

// The signals that the process obeys, taken one at a time instead of interrupting threads.
class Signals {
 public:
  Signals() {
    sigemptyset(&set_);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set_, signal);
    pthread_sigmask(SIG_BLOCK, &set_, &before_);
    struct sigaction ignore{};
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &ignore, nullptr);  // a peer that hangs up is an error of its call
    sigaction(SIGXFSZ, &ignore, nullptr);  // a file that may not grow is an error of its journal
  }
  ~Signals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  // 0: none came in this time.
  int Wait(std::chrono::milliseconds most) const {
    const timespec time{most.count() / 1000, most.count() % 1000 * 1'000'000};
    const int signal = sigtimedwait(&set_, nullptr, &time);
    return signal > 0 ? signal : 0;
  }

 private:
  sigset_t set_{};
  sigset_t before_{};
};

// All that a start takes from its options. Whatever is refused here is refused by --check, too.
struct Plan {
  Places places;
  TlsTexts tls;
  store::SyncPolicy sync;
  service::Environment environment;
};

Status CheckClusters(const service::ServerConfig& config, const service::Environment& environment) {
  for (const service::ClusterConfig& cluster : config.clusters) {
    if (!config.store.empty()) {
      if (Status ok = store::CheckClusterName(cluster.id); !ok) return ok;
    }
    auto policy = environment.registry->Configure(cluster.policy);
    if (!policy) return Fail("cluster " + cluster.id, policy.error().ToString());
    auto engine_options = service::EngineOptionsOf(cluster, environment);
    if (!engine_options) return tl::unexpected<Error>(engine_options.error());
    const auto engine = Engine::Create(std::move(*policy), std::move(*engine_options));
    if (!engine) return Fail("cluster " + cluster.id, engine.error().ToString());
  }
  return {};
}

Result<Plan> PlanOf(const ServeOptions& options, const Registry& registry,
                    const devices::Catalog& catalog) {
  const service::ServerConfig& config = options.config;
  auto places = PlacesOf(config);
  if (!places) return tl::unexpected<Error>(places.error());
  const TlsFiles tls = TlsOf(config);
  auto texts = ReadTls(tls);
  if (!texts) return tl::unexpected<Error>(texts.error());
  for (const Address& address : places->grpc) {
    Status ok = CheckReach("--listen", address, tls, options.insecure_remote);
    if (ok) ok = CheckSocketFree("--listen-unix", address);
    if (!ok) return tl::unexpected<Error>(ok.error());
  }
  for (const Address& address : places->http) {
    if (Status ok = CheckReach("--http", address, tls, options.insecure_remote); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
  }
  const auto sync = store::ParseSyncPolicy(config.fsync);
  if (!sync) return tl::unexpected<Error>(sync.error());
  service::Environment environment{.registry = &registry,
                                   .catalog = &catalog,
                                   .skus = {},
                                   .machines = options.machines,
                                   .version = options.version};
  if (!config.skus.empty()) {
    std::ifstream in(config.skus, std::ios::binary);
    if (!in) return Fail(config.skus, "cannot be read; does it exist?");
    const std::string text((std::istreambuf_iterator<char>(in)), {});
    auto skus = devices::ParseSkus(catalog, config.skus, text);
    if (!skus) return tl::unexpected<Error>(skus.error());
    environment.skus = std::move(*skus);
  }
  if (Status ok = CheckClusters(config, environment); !ok) return tl::unexpected<Error>(ok.error());
  return Plan{std::move(*places), std::move(*texts), *sync, std::move(environment)};
}

}  // namespace

Status CheckServe(const ServeOptions& options, const Registry& registry,
                  const devices::Catalog& catalog) {
  const auto plan = PlanOf(options, registry, catalog);
  if (!plan) return tl::unexpected<Error>(plan.error());
  return {};
}

Status Serve(const ServeOptions& options, const Registry& registry,
             const devices::Catalog& catalog) {
  const auto plan = PlanOf(options, registry, catalog);
  if (!plan) return tl::unexpected<Error>(plan.error());
  const auto& [places, tls, sync, environment] = *plan;
  const Signals signals;  // before any thread: they inherit the mask
  const service::ServerConfig& config = options.config;
  NoStore no_store;
  std::unique_ptr<store::FileStore> files;
  if (!config.store.empty()) {
    store::FileStoreOptions keep;
    keep.sync = sync;
    keep.record_bytes = config.record_mib << 20;
    keep.told = [](const std::string& cluster, const std::string& error) {
      if (error.empty()) {
        Log("journal recovered", {{"cluster", cluster}});
      } else {
        Log("journal failed", {{"cluster", cluster}, {"error", error}});
      }
    };
    auto opened = store::FileStore::Open(config.store, keep);
    if (!opened) return tl::unexpected<Error>(opened.error());
    files = std::move(*opened);
  }
  service::Store* store = files != nullptr ? static_cast<service::Store*>(files.get()) : &no_store;

  // All clusters are read before any is written: a damaged one stops the start.
  std::vector<std::unique_ptr<Engine>> engines(config.clusters.size());
  SimTime newest{0};
  for (std::size_t i = 0; files != nullptr && i < config.clusters.size(); ++i) {
    const service::ClusterConfig& cluster = config.clusters[i];
    const auto policy = registry.Configure(cluster.policy);
    if (!policy) return Fail("cluster " + cluster.id, policy.error().ToString());
    const auto engine_options = service::EngineOptionsOf(cluster, environment);
    if (!engine_options) return tl::unexpected<Error>(engine_options.error());
    auto recovered = files->Recover(cluster.id, *policy, *engine_options);
    if (!recovered) return tl::unexpected<Error>(recovered.error());
    Log("recovered", {{"cluster", cluster.id},
                      {"snapshot", std::to_string(recovered->snapshot)},
                      {"records", std::to_string(recovered->records)},
                      {"cut_bytes", std::to_string(recovered->cut_bytes)},
                      {"tail", recovered->tail_problem},
                      {"damaged", recovered->damaged}});
    if (recovered->lost_records > 0) {
      Log("journal damaged", {{"cluster", cluster.id},
                              {"lost_records", std::to_string(recovered->lost_records)},
                              {"tail", recovered->tail_problem}});
    }
    engines[i] = std::move(recovered->engine);
    if (engines[i] != nullptr) newest = std::max(newest, engines[i]->now());
  }
  const ServerClock clock(newest);
  const std::uint64_t boot = files != nullptr ? files->boot() : BootOfClock();
  for (std::size_t i = 0; i < engines.size(); ++i) {
    // Lost or put back: what this run gave would have the numbers of an earlier run's leases.
    const std::uint64_t given =
        engines[i] == nullptr ? 0 : engines[i]->next_epoch() >> service::kEpochBits;
    if (given >= boot) {
      return Fail(
          config.store + "/BOOT",
          fmt::format("counts {} starts, but cluster {} has leases of start {}; write {} there",
                      boot - 1, config.clusters[i].id, given, given));
    }
  }
  std::vector<std::unique_ptr<Room>> list;
  for (std::size_t i = 0; i < config.clusters.size(); ++i) {
    auto service =
        service::Service::Create(config.clusters[i], service::Access(config.access), &environment,
                                 boot, store, std::move(engines[i]), clock.Now());
    if (!service) return tl::unexpected<Error>(service.error());
    Log("cluster", {{"cluster", config.clusters[i].id},
                    {"server_epoch", std::to_string(boot)},
                    {"state_digest", (*service)->StateDigest()}});
    store::FileJournal* journal =
        files != nullptr ? files->JournalOf(config.clusters[i].id) : nullptr;
    list.push_back(std::make_unique<Room>(
        std::move(*service), static_cast<int>(config.max_waiting), &clock,
        [journal](const std::string&, std::uint64_t position) {
          return journal == nullptr || journal->WaitDurable(position).has_value();
        }));
  }
  Rooms rooms(std::move(list), &clock);
  rooms.limits().Configure(config);
  Reloader reloader(options, environment, &rooms);

  AdminHooks hooks;
  hooks.reload = [&](const std::string& yaml, bool dry_run) { return reloader.Run(yaml, dry_run); };
  hooks.journal_error = [&] {
    std::string error;
    for (const service::ClusterConfig& cluster : config.clusters) {
      const std::string one = store->ErrorOf(cluster.id);
      if (!one.empty()) error += cluster.id + ": " + one + "\n";
    }
    return error;
  };
  hooks.journal_bytes = [&] {
    std::int64_t bytes = 0;
    for (const service::ClusterConfig& cluster : config.clusters) {
      bytes += store->JournalBytes(cluster.id);
    }
    return bytes;
  };
  hooks.store = config.store;
  auto grpc = GrpcServer::Start({.addresses = places.grpc, .tls = tls}, &rooms, std::move(hooks));
  if (!grpc) return tl::unexpected<Error>(grpc.error());
  http::ExtenderOptions extender;
  extender.caller.local = places.http.empty() || IsLocal(places.http[0]);
  http::Routes routes(&rooms, extender);
  std::unique_ptr<http::HttpServer> http;
  if (!places.http.empty()) {
    auto started = http::HttpServer::Start(
        {.host = places.http[0].host,
         .port = places.http[0].port,
         .certificate = config.tls_cert,
         .key = config.tls_key,
         .client_ca = config.tls_client_ca},
        [&](const std::string& path) { return routes.Get(path); },
        [&](const std::string& path, const std::string& body) { return routes.Post(path, body); });
    if (!started) return tl::unexpected<Error>(started.error());
    http = std::move(*started);
    Log("listening", {{"protocol", "http"},
                      {"address", fmt::format("{}:{}", places.http[0].host, http->port())}});
  }
  for (std::size_t i = 0; i < places.grpc.size(); ++i) {
    Address address = places.grpc[i];
    if (!address.is_unix()) address.port = (*grpc)->ports()[i];
    Log("listening", {{"protocol", "grpc"}, {"address", address.ToString()}});
  }
  {
    // What nobody waits for is written as well, if later.
    const bool interval = sync.kind == store::SyncPolicy::Kind::kInterval;
    const Ticker writer(interval ? std::chrono::milliseconds(sync.interval_ms) : kTick, [&] {
      for (const auto& room : rooms.all()) {
        // An error is latched: the next call that needs the journal is told.
        if (files != nullptr) static_cast<void>(files->JournalOf(room->id())->Flush());
      }
    });
    const Ticker ticker(kTick, [&] {
      rooms.Tick();
      for (const auto& room : rooms.all()) {
        if (store->JournalBytes(room->id()) <= config.snapshot_mib << 20) continue;
        room->With([](service::Service& service, SimTime) {
          if (const Status ok = service.WriteSnapshot(); !ok) {
            Log("snapshot failed", {{"error", ok.error().ToString()}});
          }
        });
      }
      (*grpc)->SetServing(rooms.NotReady().empty());
    });
    int signal = 0;
    while (signal != SIGTERM && signal != SIGINT) {
      signal = signals.Wait(std::chrono::seconds(3600));
      if (signal != SIGHUP) continue;
      const pb::ReloadResponse done = reloader.Run("", false);
      Log("reload", {{"applied", done.applied() ? "yes" : "no"},
                     {"error", done.errors_size() > 0 ? done.errors(0) : ""}});
    }
    // New work goes elsewhere; what was promised may still be confirmed or given back.
    rooms.Drain();
    Log("drain", {{"open_leases", std::to_string(rooms.OpenLeases())}});
    const auto until =
        std::chrono::steady_clock::now() + std::chrono::seconds(config.drain_timeout_s);
    while (rooms.OpenLeases() > 0 && std::chrono::steady_clock::now() < until) {
      if (const int again = signals.Wait(std::chrono::milliseconds(50));
          again == SIGTERM || again == SIGINT) {
        break;  // told twice
      }
    }
  }
  if (http != nullptr) http->Stop();
  (*grpc)->Stop();
  Status last;
  for (const auto& room : rooms.all()) {
    room->With([&](service::Service& service, SimTime) {
      const Status ok = service.WriteSnapshot();
      Log("stopped", {{"cluster", service.config().id},
                      {"state_digest", service.StateDigest()},
                      {"decision_digest", service.engine().DecisionDigest().ToHex()},
                      {"open_leases", std::to_string(service.open_leases())}});
      if (!ok) last = ok;
    });
  }
  return last;
}

}  // namespace basalt::rpc
