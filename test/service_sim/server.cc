#include <utility>

#include "adapters/service/uid.h"
#include "test/service_sim/world.h"

namespace basalt::service_sim {

Server::Server(Net* net, Tally* tally) : net_(net), tally_(tally) {}

void Server::Crash() {
  ++tally_->crashes;
  const std::size_t rest = store_.journal_size() - store_.synced_bytes;
  keep_ = store_.journal_size();
  digest_.clear();
  if (rest > 0 && !net_->OneIn(4)) {
    keep_ = store_.synced_bytes + net_->rng().Below(static_cast<std::uint32_t>(rest));
    if (keep_ > store_.synced_bytes && net_->OneIn(3)) {
      store_.Flip(store_.synced_bytes +
                  net_->rng().Below(static_cast<std::uint32_t>(keep_ - store_.synced_bytes)));
    }
    ++tally_->torn;
  } else if (store_.error.empty()) {
    digest_ = service_->StateDigest();
  }
  service_.reset();
}

std::string Server::Start() {
  service::ClusterConfig config = support::TestCluster();
  config.lease_ttl_us = 5'000'000;
  config.needs_queues = true;
  const auto options = service::EngineOptionsOf(config, support::TestEnvironment());
  std::unique_ptr<Engine> recovered;
  if (boot_ > 0) {
    auto engine = store_.Recover(support::Policy(config.policy), *options, keep_);
    if (!engine) return "recovery: " + engine.error().ToString();
    if (!digest_.empty() && (*engine)->StateDigest().ToHex() != digest_) {
      return "the state after a restart is another one";
    }
    if (Status ok = (*engine)->Audit(); !ok) return "after a restart: " + ok.error().ToString();
    recovered = std::move(*engine);
  }
  store_.full = false;
  auto made = service::Service::Create(config, {}, &support::TestEnvironment(), ++boot_, &store_,
                                       std::move(recovered), clock());
  if (!made) return made.error().ToString();
  service_ = std::move(*made);
  return "";
}

void Server::Tick() {
  if (!up()) return;
  service_->Tick(clock());
  if (store_.JournalBytes("") > (1 << 18) && store_.error.empty() && !store_.full) {
    if (!service_->WriteSnapshot()) ++tally_->lost_answers;
  }
}

std::vector<pb::Action> Server::Actions() {
  if (!up() || store_.synced_position < service_->position()) return {};
  return service_->ActionsAfter(0, {}, 1000);
}

}  // namespace basalt::service_sim
