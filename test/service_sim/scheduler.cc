#include <fmt/format.h>

#include <utility>

#include "adapters/service/uid.h"
#include "test/service_sim/world.h"

namespace basalt::service_sim {
namespace {

constexpr std::int64_t kPatienceUs = 300'000;
constexpr std::uint64_t kGangs = 1'000'000'000;  // a gang's UID is above all of pods
const service::Caller kCaller{"scheduler", true};

}  // namespace

Scheduler::Scheduler(Net* net, ApiModel* api, Server* server, Tally* tally, std::uint64_t number,
                     std::uint64_t of)
    : net_(net), api_(api), server_(server), tally_(tally), number_(number), of_(of) {}

void Scheduler::Begin() {
  ++life_;
  name_ = fmt::format("scheduler-{}/{}", number_, life_);
  work_.clear();
  Scan();
}

void Scheduler::Crash() {
  ++tally_->client_crashes;
  work_.clear();
  const std::uint64_t life = ++life_;
  net_->After(net_->Micros(2'000'000), [this, life] {
    if (life == life_) Begin();
  });
}

void Scheduler::Scan() {
  const std::uint64_t life = life_;
  std::erase_if(work_, [this](const auto& entry) { return !api_->jobs().contains(entry.first); });
  std::vector<std::uint64_t> pending;
  for (const auto& [number, job] : api_->jobs()) {
    if (!Owns(number) || (work_.contains(number) && work_[number].state != State::kIdle)) continue;
    for (const std::uint64_t pod : job.pods) {
      if (api_->IsBound(pod)) continue;
      pending.push_back(number);
      break;
    }
  }
  for (const std::uint64_t job : pending) Reserve(job);
  net_->After(150'000 + net_->Micros(200'000), [this, life] {
    if (life == life_) Scan();
  });
}

std::string Scheduler::About(std::uint64_t job) {
  if (!Owns(job) || !api_->jobs().contains(job)) return {};
  const Job& of = api_->jobs().at(job);
  const Work& work = work_[job];
  return fmt::format("{} of {} pods x {} cards, state {}, server said: {}",
                     of.gang ? "gang" : "job", of.pods.size(), of.gpus,
                     static_cast<int>(work.state), work.last.substr(0, 2000));
}

void FillPod(const Job& job, pb::PodRequest* out) {
  *out = support::PodOf(job.pods[0], job.cpu_milli, job.gpus, job.milli);
  out->mutable_ask()->mutable_spec()->set_memory_mib(job.memory_mib);
  out->mutable_standing()->set_priority(job.priority);
  out->mutable_standing()->set_queue(job.QueueName());
}

void FillGang(const Job& job, pb::GangRequest* out) {
  out->mutable_gang()->set_uid(support::UidOf(kGangs + job.number));
  out->mutable_standing()->set_priority(job.priority);
  out->mutable_standing()->set_queue(job.QueueName());
  pb::GangTask* task = out->add_tasks();
  task->set_name("worker");
  task->set_min(static_cast<std::int32_t>(job.pods.size()));
  *task->mutable_ask() = support::PodOf(1, job.cpu_milli, job.gpus, job.milli).ask();
  task->mutable_ask()->mutable_spec()->set_memory_mib(job.memory_mib);
  for (const std::uint64_t pod : job.pods) task->add_members()->set_uid(support::UidOf(pod));
}

Scheduler::Work* Scheduler::Waiting(std::uint64_t life, std::uint64_t job, State state,
                                    std::uint64_t said) {
  if (life != life_) return nullptr;
  const auto it = work_.find(job);
  if (it == work_.end() || it->second.state != state || it->second.said != said) return nullptr;
  return &it->second;
}

// Enters the state, and says the same again while no answer to it has come.
std::uint64_t Scheduler::Say(std::uint64_t job, State state, const std::function<void()>& again) {
  Work& work = work_[job];
  work.state = state;
  const std::uint64_t said = ++work.said;
  const std::uint64_t life = life_;
  auto repeat = std::make_shared<std::function<void()>>();
  const std::weak_ptr<std::function<void()>> weak = repeat;
  *repeat = [this, life, job, state, said, again, repeat = weak] {
    if (Waiting(life, job, state, said) == nullptr) return;
    again();
    if (const auto self = repeat.lock()) {
      net_->After(kPatienceUs, [self] { (*self)(); });
    }
  };
  // The first saying comes from here, once the caller has the number.
  net_->After(0, [repeat] { (*repeat)(); });
  return said;
}

void Scheduler::Reserve(std::uint64_t number) {
  const Job& job = api_->jobs().at(number);
  pb::ReserveRequest request;
  work_[number].request_id = fmt::format("{}-{}", name_, ++requests_);
  request.mutable_header()->set_request_id(work_[number].request_id);
  request.mutable_header()->set_scheduler(name_);
  if (job.gang) {
    FillGang(job, request.mutable_gang());
  } else {
    FillPod(job, request.mutable_pod());
  }
  const std::uint64_t life = life_;
  auto said = std::make_shared<std::uint64_t>(0);
  const auto reply = [this, life, number,
                      said](const service::Answer<pb::ReserveResponse>& answer) {
    Work* work = Waiting(life, number, State::kReserving, *said);
    if (work == nullptr) return;
    work->state = State::kIdle;
    work->last = answer.ok() ? answer.body.ShortDebugString() : answer.message;
    if (!answer.ok() || !api_->jobs().contains(number)) return;
    const pb::ReserveResponse& body = answer.body;
    const Job& of = api_->jobs().at(number);
    if (!body.has_lease()) {
      const bool waits =
          body.gang().kind() == pb::OUTCOME_KIND_WAIT || body.pod().kind() == pb::OUTCOME_KIND_WAIT;
      if (waits && of.priority > 0 && net_->OneIn(4)) Evict(number);
      return;
    }
    work->lease = body.lease();
    work->places.clear();
    if (body.has_pod()) {
      work->places[of.pods[0]] = {body.pod().placement().node(), body.pod().placement().cards()};
    }
    for (const auto& member : body.gang().members()) {
      const auto index = static_cast<std::size_t>(member.member());
      work->places[of.pods[index]] = {member.placement().node(), member.placement().cards()};
    }
    if (!net_->OneIn(15)) {
      Confirm(number);
      return;
    }
    // The host's own filters take longer than the lease lives; some hosts renew it.
    work->state = State::kFiltering;
    if (net_->OneIn(2)) {
      pb::RenewRequest renew;
      renew.mutable_header()->set_scheduler(name_);
      *renew.mutable_lease() = work->lease;
      renew.set_ttl_us(20'000'000);
      server_->Ask<pb::RenewResponse>(
          peer(),
          [renew](service::Service& s, SimTime now) { return s.Renew(kCaller, renew, now); },
          [this](const service::Answer<pb::RenewResponse>& renewed) {
            if (renewed.body.answer() == pb::LEASE_ANSWER_OK) ++tally_->renewals;
          });
    }
    net_->After(6'000'000, [this, life, number, turn = ++work->said] {
      if (Waiting(life, number, State::kFiltering, turn) != nullptr) Confirm(number);
    });
  };
  *said = Say(number, State::kReserving, [this, request, reply] {
    server_->Ask<pb::ReserveResponse>(
        peer(),
        [this, request](service::Service& s, SimTime now) {
          // Said again, it is the same lease for as long as that lives.
          s.Tick(now);
          const Allocation* held = nullptr;
          if (const auto uid = service::ParseUid(request.pod().pod().uid()); uid) {
            held = s.engine().Find(*uid);
          }
          const std::uint64_t epoch = held == nullptr ? 0 : held->epoch;
          auto answer = s.Reserve(kCaller, request, now);
          if (epoch != 0 && answer.ok() && answer.body.has_lease() &&
              answer.body.lease().epoch() != epoch) {
            violation_ = "a pod that holds something was given another lease";
          }
          if (answer.body.has_lease() && !s.ready()) violation_ = "a lease before the sync";
          return answer;
        },
        reply);
  });
}

void Scheduler::Confirm(std::uint64_t number) {
  pb::ConfirmRequest request;
  request.mutable_header()->set_scheduler(name_);
  *request.mutable_lease() = work_[number].lease;
  const std::uint64_t life = life_;
  auto said = std::make_shared<std::uint64_t>(0);
  const auto reply = [this, life, number,
                      said](const service::Answer<pb::ConfirmResponse>& answer) {
    Work* work = Waiting(life, number, State::kConfirming, *said);
    if (work == nullptr) return;
    work->state = State::kIdle;
    work->last = answer.ok() ? answer.body.ShortDebugString() : answer.message;
    if (!answer.ok()) return;
    if (answer.body.answer() == pb::LEASE_ANSWER_FENCED) ++tally_->fenced;
    if (answer.body.answer() == pb::LEASE_ANSWER_EXPIRED) ++tally_->expired;
    if (answer.body.answer() != pb::LEASE_ANSWER_OK) return;
    // The host may have changed its mind, while it has bound nothing.
    bool some_bound = false;
    for (const auto& [pod, place] : work->places) some_bound = some_bound || api_->IsBound(pod);
    if (!some_bound && net_->OneIn(12)) {
      Release(number);
    } else {
      Bind(number);
    }
  };
  *said = Say(number, State::kConfirming, [this, request, reply] {
    server_->Ask<pb::ConfirmResponse>(
        peer(),
        [this, request](service::Service& s, SimTime now) {
          // What is over is over, however late it is noticed.
          bool open = false;
          bool over = false;
          s.engine().ForEachAllocation([&](const Allocation& a) {
            if (a.epoch != request.lease().epoch() || a.confirmed) return;
            open = true;
            over = over || a.expires <= std::max(now, s.engine().now());
          });
          auto answer = s.Confirm(kCaller, request, now);
          if (open && over && answer.body.answer() == pb::LEASE_ANSWER_OK) {
            violation_ = "a lease was confirmed after its end";
          }
          return answer;
        },
        reply);
  });
}

void Scheduler::Release(std::uint64_t number) {
  pb::ReleaseRequest request;
  request.mutable_header()->set_scheduler(name_);
  *request.mutable_lease() = work_[number].lease;
  const std::uint64_t life = life_;
  auto said = std::make_shared<std::uint64_t>(0);
  const auto reply = [this, life, number, said](const service::Answer<pb::ReleaseResponse>&) {
    // Whatever the answer: what the lease was good for is over.
    if (Work* work = Waiting(life, number, State::kReleasing, *said)) work->state = State::kIdle;
  };
  *said = Say(number, State::kReleasing, [this, request, reply] {
    server_->Ask<pb::ReleaseResponse>(
        peer(),
        [request](service::Service& s, SimTime now) { return s.Release(kCaller, request, now); },
        reply);
  });
  if (!net_->OneIn(3)) return;
  // A host whose call has timed out goes on, and the Release may come after its next Reserve.
  net_->After(net_->Micros(kPatienceUs), [this, life, number, said] {
    if (Work* work = Waiting(life, number, State::kReleasing, *said)) work->state = State::kIdle;
  });
}

void Scheduler::Evict(std::uint64_t number) {
  const Job& job = api_->jobs().at(number);
  pb::EvictRequest request;
  request.mutable_header()->set_scheduler(name_);
  if (job.gang) {
    FillGang(job, request.mutable_gang());
  } else {
    FillPod(job, request.mutable_pod());
  }
  const std::uint64_t life = life_;
  auto said = std::make_shared<std::uint64_t>(0);
  const auto reply = [this, life, number, said](const service::Answer<pb::EvictResponse>& answer) {
    Work* work = Waiting(life, number, State::kEvicting, *said);
    if (work == nullptr) return;
    work->state = State::kIdle;  // it is reserved as any other, again and again until there is room
    if (answer.ok() && answer.body.has_lease()) ++tally_->evictions;
  };
  *said = Say(number, State::kEvicting, [this, request, reply] {
    server_->Ask<pb::EvictResponse>(
        peer(),
        [request](service::Service& s, SimTime now) { return s.Evict(kCaller, request, now); },
        reply);
  });
}

void Scheduler::Bind(std::uint64_t number) {
  const std::map<std::uint64_t, std::pair<std::string, std::uint64_t>> places =
      work_[number].places;
  for (const auto& [pod, place] : places) {
    if (net_->faults.drop_percent > 0 && net_->OneIn(60)) {  // between two bindings
      Crash();
      return;
    }
    // A refused one: the pod or its node is gone, and the job with it.
    if (!api_->Bind(pod, place.first, place.second)) break;
  }
  Forget(number);
}

}  // namespace basalt::service_sim
