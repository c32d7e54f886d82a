#include "adapters/rpc/choose.h"

#include <algorithm>
#include <array>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "adapters/service/uid.h"

namespace basalt::rpc {
namespace {

template <class T>
Reply<T> Refuse(CallCode code, std::string message) {
  Reply<T> reply;
  reply.code = code;
  reply.message = std::move(message);
  return reply;
}

// Two copies of one request must not choose at the same time: each would find that it holds
// nothing.
std::mutex& TurnOf(const std::string& uid) {
  static std::array<std::mutex, 64> turns;
  return turns[std::hash<std::string>()(uid) % turns.size()];
}

template <class Request>
Result<std::vector<Room*>> Named(const Rooms& rooms, const Request& request) {
  if (!request.header().cluster().empty()) {
    return Fail("header.cluster", "is named, and `clusters`, too; one of the two");
  }
  if (request.clusters_size() > kMostClusters) {
    return Fail("clusters", "are more than " + std::to_string(kMostClusters));
  }
  std::vector<Room*> out;
  for (const std::string& name : request.clusters()) {
    Room* room = name.empty() ? nullptr : rooms.Find(name);
    if (room == nullptr) return Fail("clusters", rooms.UnknownCluster(name));
    if (std::ranges::find(out, room) == out.end()) out.push_back(room);
  }
  return out;
}

struct Subject {
  PodUid uid;
  std::uint32_t attempt = 0;
  bool gang = false;
};

template <class Request>
Result<Subject> SubjectOf(const Request& request) {
  const bool gang = request.of_case() == Request::kGang;
  const pb::PodKey& key = gang ? request.gang().gang() : request.pod().pod();
  const Result<PodUid> uid = service::ParseUid(key.uid());
  if (!uid) return tl::unexpected<Error>(uid.error());
  return Subject{*uid, key.attempt(), gang};
}

Room* HolderOf(const std::vector<Room*>& rooms, const Subject& subject) {
  for (Room* room : rooms) {
    const bool holds = room->With([&](service::Service& service, SimTime) {
      return subject.gang ? service.engine().FindGang(subject.uid) != nullptr
                          : service.engine().Find(subject.uid) != nullptr;
    });
    if (holds) return room;
  }
  return nullptr;
}

// A later one may still come to be placed.
int RankOf(pb::OutcomeKind kind) {
  switch (kind) {
    case pb::OUTCOME_KIND_PLACED:
      return 3;
    case pb::OUTCOME_KIND_WAIT:
      return 2;
    case pb::OUTCOME_KIND_NOT_READY:
      return 1;
    default:
      return 0;
  }
}

template <class Body>
pb::OutcomeKind KindOf(const Body& body) {
  return body.has_gang() ? body.gang().kind() : body.pod().kind();
}

template <class Body>
void SetCluster(const std::string& cluster, Body* body) {
  if (body->has_gang()) {
    body->mutable_gang()->set_cluster(cluster);
  } else {
    body->mutable_pod()->set_cluster(cluster);
  }
}

struct Offer {
  Room* room = nullptr;
  Reply<pb::ProposeResponse> reply;
  std::int64_t free = 0;  // milli of cards that take pods
};

// By what comes of it, best first.
std::vector<Offer> Ask(const std::vector<Room*>& rooms, const service::Caller& caller,
                       pb::ProposeRequest request, Deadline deadline) {
  std::vector<Offer> offers;
  request.clear_clusters();
  for (Room* room : rooms) {
    Offer& offer = offers.emplace_back();
    offer.room = room;
    request.mutable_header()->set_cluster(room->id());
    offer.reply =
        room->Run("propose", deadline, false, [&](service::Service& service, SimTime now) {
          offer.free = service.engine().state().totals().gpu_free;
          return service.Propose(caller, request, now);
        });
    if (offer.reply.ok()) SetCluster(room->id(), &offer.reply.body);
  }
  std::ranges::stable_sort(offers, [](const Offer& a, const Offer& b) {
    if (a.reply.ok() != b.reply.ok()) return a.reply.ok();
    if (!a.reply.ok()) return false;
    const int ra = RankOf(KindOf(a.reply.body)), rb = RankOf(KindOf(b.reply.body));
    return ra != rb ? ra > rb : ra == 3 && a.free > b.free;
  });
  return offers;
}

}  // namespace

Reply<pb::ProposeResponse> ProposeAmong(Rooms* rooms, const service::Caller& caller,
                                        const pb::ProposeRequest& request, Deadline deadline) {
  using Body = pb::ProposeResponse;
  const Result<std::vector<Room*>> named = Named(*rooms, request);
  if (!named) return Refuse<Body>(CallCode::kInvalid, named.error().ToString());
  const Result<Subject> subject = SubjectOf(request);
  if (!subject) return Refuse<Body>(CallCode::kInvalid, subject.error().ToString());
  Room* holder = HolderOf(*named, *subject);
  return Ask(holder != nullptr ? std::vector<Room*>{holder} : *named, caller, request, deadline)
      .front()
      .reply;
}

Reply<pb::ReserveResponse> ReserveAmong(Rooms* rooms, const service::Caller& caller,
                                        const pb::ReserveRequest& request, Deadline deadline) {
  using Body = pb::ReserveResponse;
  const Result<std::vector<Room*>> named = Named(*rooms, request);
  if (!named) return Refuse<Body>(CallCode::kInvalid, named.error().ToString());
  if (request.has_placement() || request.members_size() > 0) {
    return Refuse<Body>(CallCode::kInvalid,
                        "a place is of one cluster: name it in header.cluster, and no clusters");
  }
  const Result<Subject> subject = SubjectOf(request);
  if (!subject) return Refuse<Body>(CallCode::kInvalid, subject.error().ToString());
  const std::scoped_lock turn(TurnOf(service::UuidText(subject->uid)));

  pb::ReserveRequest there = request;
  there.clear_clusters();
  const auto reserve = [&](Room* room) {
    there.mutable_header()->set_cluster(room->id());
    Reply<Body> reply =
        room->Run("reserve", deadline, false, [&](service::Service& service, SimTime now) {
          return service.Reserve(caller, there, now);
        });
    if (reply.ok()) SetCluster(room->id(), &reply.body);
    return reply;
  };
  if (Room* holder = HolderOf(*named, *subject); holder != nullptr) return reserve(holder);
  for (Room* room : *named) {
    const bool late = room->With([&](service::Service& service, SimTime) {
      return service.AnsweredBefore(request.header(), subject->uid, subject->attempt, 0);
    });
    if (late) return reserve(room);  // which says so, and takes nothing
  }
  pb::ProposeRequest propose;
  *propose.mutable_header() = request.header();
  if (subject->gang) {
    *propose.mutable_gang() = request.gang();
  } else {
    *propose.mutable_pod() = request.pod();
  }
  propose.set_want_reasons(request.want_reasons());
  std::vector<Offer> offers = Ask(*named, caller, std::move(propose), deadline);
  std::optional<Reply<Body>> refused;
  for (const Offer& offer : offers) {
    if (!offer.reply.ok() || KindOf(offer.reply.body) != pb::OUTCOME_KIND_PLACED) break;
    Reply<Body> reply = reserve(offer.room);
    if (reply.ok() && reply.body.has_lease()) return reply;
    // No answer in time, or no journal: it may hold something there.
    if (!reply.ok()) return reply;
    if (!refused) refused = std::move(reply);
  }
  if (refused) return std::move(*refused);
  Offer& best = offers.front();
  if (!best.reply.ok()) return Refuse<Body>(best.reply.code, std::move(best.reply.message));
  Reply<Body> reply;
  if (best.reply.body.has_gang()) {
    *reply.body.mutable_gang() = std::move(*best.reply.body.mutable_gang());
  } else {
    *reply.body.mutable_pod() = std::move(*best.reply.body.mutable_pod());
  }
  return reply;
}

}  // namespace basalt::rpc
