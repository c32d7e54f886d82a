#include "adapters/rpc/rooms.h"

#include <algorithm>

#include "scheduler-core/base/suggest.h"

namespace basalt::rpc {
namespace {

std::int64_t SteadyMicros() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

CallCode CodeOf(service::Code code) {
  switch (code) {
    case service::Code::kOk:
      return CallCode::kOk;
    case service::Code::kInvalid:
      return CallCode::kInvalid;
    case service::Code::kDenied:
      return CallCode::kDenied;
    case service::Code::kExhausted:
      return CallCode::kExhausted;
    case service::Code::kUnavailable:
      return CallCode::kUnavailable;
    case service::Code::kPrecondition:
      return CallCode::kPrecondition;
    case service::Code::kExists:
      return CallCode::kExists;
    case service::Code::kDataLoss:
      return CallCode::kDataLoss;
  }
  return CallCode::kInvalid;
}

ServerClock::ServerClock(SimTime least) {
  const std::int64_t wall = std::chrono::duration_cast<std::chrono::microseconds>(
                                std::chrono::system_clock::now().time_since_epoch())
                                .count();
  offset_us_ = std::max(wall, least.us) - SteadyMicros();
}

SimTime ServerClock::Now() const { return SimTime{SteadyMicros() + offset_us_}; }

Room::Room(std::unique_ptr<service::Service> service, int max_waiting, const ServerClock* clock,
           WaitDurable durable)
    : id_(service->config().id),
      service_(std::move(service)),
      gate_(max_waiting),
      clock_(clock),
      durable_(std::move(durable)) {}

void Room::Tick() {
  {
    const EngineGate::Turn turn = gate_.EnterAlways();
    service_->Tick(clock_->Now());
  }
  Notify();
}

void Room::Notify() {
  news_.fetch_add(1, std::memory_order_seq_cst);
  if (listeners_.load(std::memory_order_seq_cst) == 0) return;
  {
    const std::scoped_lock lock(news_mutex_);
  }  // whoever read the number is waiting by now
  news_changed_.notify_all();
}

std::uint64_t Room::WaitForNews(std::uint64_t seen, std::chrono::milliseconds most) {
  listeners_.fetch_add(1, std::memory_order_seq_cst);
  {
    std::unique_lock<std::mutex> lock(news_mutex_);
    news_changed_.wait_for(lock, most,
                           [&] { return news_.load(std::memory_order_seq_cst) != seen; });
  }
  listeners_.fetch_sub(1, std::memory_order_seq_cst);
  return news();
}

Room* Rooms::Find(std::string_view cluster) const {
  if (cluster.empty()) return rooms_.size() == 1 ? rooms_.front().get() : nullptr;
  for (const auto& room : rooms_) {
    if (room->id() == cluster) return room.get();
  }
  return nullptr;
}

std::string Rooms::UnknownCluster(std::string_view cluster) const {
  std::vector<std::string> names;
  std::string list;
  for (const auto& room : rooms_) {
    names.push_back(room->id());
    list += (list.empty() ? "" : ", ") + room->id();
  }
  if (cluster.empty()) return "header.cluster: name one of " + list;
  return "header.cluster: unknown cluster " +
         SuggestText(std::string(cluster.substr(0, 80)), names);
}

void Rooms::Tick() {
  for (const auto& room : rooms_) room->Tick();
}

void Rooms::Drain() {
  for (const auto& room : rooms_) {
    room->With([](service::Service& service, SimTime) { service.Drain(); });
  }
}

std::int64_t Rooms::OpenLeases() {
  std::int64_t leases = 0;
  for (const auto& room : rooms_) {
    leases += room->With([](service::Service& service, SimTime) { return service.open_leases(); });
  }
  return leases;
}

std::string Rooms::NotReady() {
  std::string why;
  for (const auto& room : rooms_) {
    why += room->With([](service::Service& service, SimTime) -> std::string {
      const std::string& id = service.config().id;
      if (service.draining()) return id + ": draining\n";
      if (!service.ready()) return id + ": its sync is not complete\n";
      return "";
    });
  }
  return why;
}

std::string Rooms::Metrics() {
  service::MetricsText text;
  for (const auto& room : rooms_) {
    room->With([&](service::Service& service, SimTime) { service.WriteMetrics(&text); });
    const service::MetricsText::Labels labels = {{"cluster", room->id()}};
    text.Add("basalt_gate_waiting", "gauge", "Calls that wait for the cluster's engine.", labels,
             static_cast<double>(room->gate().waiting()));
    text.Add("basalt_gate_turned_away_total", "counter",
             "Calls refused because too many were waiting.", labels,
             static_cast<double>(room->gate().turned_away()));
  }
  text.Add("basalt_calls_limited_total", "counter",
           "Calls refused because their identity made too many.", {},
           static_cast<double>(limits_.refused()));
  return text.Text();
}

}  // namespace basalt::rpc
