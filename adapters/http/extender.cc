#include "adapters/http/extender.h"

#include <algorithm>
#include <set>

#include "adapters/service/shown.h"

namespace basalt::http {
namespace {

constexpr std::size_t kRemembered = 65'536;

}  // namespace

Extender::Extender(rpc::Room* room, ExtenderOptions options)
    : room_(room),
      options_(options),
      asks_(kRemembered),
      queue_of_job_(kRemembered),
      leases_(kRemembered),
      unanswered_(kRemembered) {
  const auto hello =
      room_->Run("hello", rpc::kNoDeadline, true, [&](service::Service& service, SimTime now) {
        pb::HelloRequest request;
        *request.mutable_header() = HeaderOf("extender");
        return service.Hello(options_.caller, request, now);
      });
  keys_ = AnnotationKeys(
      {hello.body.pod_annotation_keys().begin(), hello.body.pod_annotation_keys().end()});
  if (!room_->With([](service::Service& service, SimTime) { return service.config().learn; })) {
    return;
  }
  const auto of = [](const auto& keys) {
    return std::vector<std::string>(keys.begin(), keys.end());
  };
  std::vector<std::string> grants = of(hello.body.grant_annotation_keys());
  grants.emplace_back("basalt.io/cards");
  learner_ =
      std::make_unique<Learner>(room_, options_.caller,
                                Learner::Keys{AnnotationKeys(of(hello.body.node_annotation_keys())),
                                              keys_, AnnotationKeys(std::move(grants))});
}

rpc::Deadline Extender::TurnBy() const { return std::chrono::system_clock::now() + options_.turn; }

pb::Header Extender::HeaderOf(const char* who) const {
  pb::Header header;
  header.set_cluster(room_->id());
  header.set_scheduler(who);
  return header;
}

rpc::Reply<pb::EvaluateResponse> Extender::Evaluate(const char* who, pb::PodRequest pod,
                                                    const std::vector<std::string>& nodes) {
  pb::EvaluateRequest request;
  *request.mutable_header() = HeaderOf(who);
  *request.mutable_pod() = std::move(pod);
  for (const std::string& node : nodes) request.add_nodes(node);
  return room_->Run("evaluate", TurnBy(), false, [&](service::Service& service, SimTime now) {
    return service.Evaluate(options_.caller, request, now);
  });
}

rpc::Reply<pb::ReserveResponse> Extender::Reserve(const char* who, pb::PodRequest pod,
                                                  const std::string& node, bool want_assignment,
                                                  std::int64_t ttl_us) {
  pb::ReserveRequest request;
  *request.mutable_header() = HeaderOf(who);
  *request.mutable_pod() = std::move(pod);
  if (!node.empty()) request.mutable_placement()->set_node(node);
  request.set_want_assignment(want_assignment);
  request.set_ttl_us(ttl_us);
  return room_->Run("reserve", TurnBy(), false, [&](service::Service& service, SimTime now) {
    auto answer = service.Reserve(options_.caller, request, now);
    // Volcano binds by this lease without confirming it.
    answer.position = service.position();
    return answer;
  });
}

rpc::Reply<pb::ReleaseResponse> Extender::Release(const char* who, const pb::Lease& lease) {
  pb::ReleaseRequest request;
  *request.mutable_header() = HeaderOf(who);
  *request.mutable_lease() = lease;
  return room_->Run("release", rpc::kNoDeadline, true, [&](service::Service& service, SimTime now) {
    return service.Release(options_.caller, request, now);
  });
}

rpc::Reply<pb::EvictResponse> Extender::PlanEviction(const char* who, pb::PodRequest pod,
                                                     const std::vector<std::string>& nodes,
                                                     bool preempt, bool reclaim) {
  pb::EvictRequest request;
  *request.mutable_header() = HeaderOf(who);
  *request.mutable_pod() = std::move(pod);
  for (const std::string& node : nodes) {
    request.mutable_pod()->mutable_constraints()->add_only_nodes(node);
  }
  request.set_dry_run(true);
  request.set_no_preempt(!preempt);
  request.set_no_reclaim(!reclaim);
  return room_->Run("evict", TurnBy(), false, [&](service::Service& service, SimTime now) {
    return service.Evict(options_.caller, request, now);
  });
}

HttpAnswer JsonAnswer(std::string body) {
  return {.status = 200, .body = std::move(body), .type = "application/json"};
}

HttpAnswer BadBody(const Error& error) {
  return {.status = 400, .body = service::Shown(error.ToString()) + "\n", .type = "text/plain"};
}

HttpAnswer Refused(rpc::CallCode code, const std::string& message) {
  const bool again = code == rpc::CallCode::kExhausted || code == rpc::CallCode::kDeadline ||
                     code == rpc::CallCode::kUnavailable;
  const bool bad = code == rpc::CallCode::kInvalid;
  return {.status = again ? 503 : (bad ? 400 : 500),
          .body = service::Shown(message) + "\n",
          .type = "text/plain"};
}

std::string WhyNot(const pb::NodeVerdict& verdict) {
  if (!verdict.text().empty()) return verdict.text();
  return pb::Reason_Name(verdict.reason());
}

std::vector<int> RankScores(const pb::EvaluateResponse& answer, int most) {
  std::set<std::int64_t> distinct;
  for (const pb::NodeVerdict& verdict : answer.verdicts()) {
    if (verdict.reason() == pb::REASON_FITS) distinct.insert(verdict.score());
  }
  const std::vector<std::int64_t> ascending(distinct.begin(), distinct.end());
  std::vector<int> scores;
  for (const pb::NodeVerdict& verdict : answer.verdicts()) {
    if (verdict.reason() != pb::REASON_FITS) {
      scores.push_back(0);
      continue;
    }
    const auto rank =
        std::lower_bound(ascending.begin(), ascending.end(), verdict.score()) - ascending.begin();
    const auto last = static_cast<std::ptrdiff_t>(ascending.size()) - 1;
    scores.push_back(last == 0 ? most : static_cast<int>(most * rank / last));
  }
  return scores;
}

Result<std::string> NameInRaw(simdjson::ondemand::parser* parser, std::string_view raw,
                              const char* outer, const char* field) {
  // `raw` is a part of a padded text: there are bytes behind it.
  simdjson::ondemand::document document;
  if (const auto code =
          parser->iterate(raw.data(), raw.size(), raw.size() + simdjson::SIMDJSON_PADDING)
              .get(document)) {
    return JsonError(field, code);
  }
  simdjson::ondemand::object object;
  if (const auto code = document.get_object().get(object)) return JsonError(field, code);
  if (outer != nullptr) {
    simdjson::ondemand::object inner;
    if (const auto code = object.find_field_unordered(outer).get_object().get(inner)) {
      return JsonError(outer, code);
    }
    return TextOf(inner, field);
  }
  return TextOf(object, field);
}

}  // namespace basalt::http
