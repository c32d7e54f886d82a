// Fuzz entries for what reaches the server: bodies that stock schedulers post, calls and sync
// streams as protobuf, and the files that it recovers from. As entry.h: what is accepted keeps the
// promises, and what is answered can be read.
#pragma once

#include <google/protobuf/stubs/logging.h>
#include <simdjson.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "adapters/http/routes.h"
#include "adapters/rpc/rooms.h"
#include "adapters/service/service.h"
#include "adapters/service/shown.h"
#include "adapters/store/file_store.h"
#include "adapters/store/recover.h"
#include "test/fuzz/engine_entry.h"
#include "test/fuzz/entry.h"
#include "test/support/files.h"

namespace basalt::fuzz {

namespace pb = placement::v1;

inline const service::Environment& ServerEnvironment() {
  static const devices::Catalog catalog = devices::EmbeddedCatalog();
  static const service::Environment environment = [] {
    service::Environment e;
    e.registry = &Policies();
    e.catalog = &catalog;
    e.version = "fuzz";
    return e;
  }();
  return environment;
}

// Keeps the last snapshot and the journal after it.
class KeepingStore : public service::Store {
 public:
  Result<JournalSink*> Begin(const std::string&, std::string_view snapshot) override {
    snapshot_ = snapshot;
    journal_ = std::make_unique<JournalBuffer>();
    return journal_.get();
  }
  std::uint64_t Position(const std::string&) const override { return journal_->bytes().size(); }
  std::int64_t JournalBytes(const std::string&) const override { return 0; }
  std::string ErrorOf(const std::string&) const override { return ""; }
  std::unique_ptr<Engine> Recover(const service::ClusterConfig& config) const {
    auto engine = Engine::Restore(snapshot_, *Policies().Configure(config.policy),
                                  *service::EngineOptionsOf(config, ServerEnvironment()));
    BASALT_FUZZ_CHECK(engine.has_value());
    const auto journal = ReadJournal(journal_->bytes());
    BASALT_FUZZ_CHECK(journal.has_value() && journal->tail_problem.empty());
    for (const JournalRecord& record : journal->records) {
      BASALT_FUZZ_CHECK((*engine)->ApplyRecord(record).has_value());
    }
    return std::move(*engine);
  }

 private:
  std::string snapshot_;
  std::unique_ptr<JournalBuffer> journal_;
};

// One service, asked by whoever may do everything.
class Asked {
 public:
  Asked() {
    config_.id = "c";
    config_.policy = "binpack";
    config_.max_asks = 1'000;
    Start(nullptr);
  }
  void Start(std::unique_ptr<Engine> recovered) {
    auto made = service::Service::Create(config_, {}, &ServerEnvironment(), ++boot_, &store_,
                                         std::move(recovered), now_);
    BASALT_FUZZ_CHECK(made.has_value());
    service_ = std::move(*made);
  }
  // As after kill -9: the same state.
  void Restart() {
    const std::string digest = service_->StateDigest();
    std::unique_ptr<Engine> engine = store_.Recover(config_);
    BASALT_FUZZ_CHECK(engine->StateDigest().ToHex() == digest);
    service_.reset();
    generation_ = 0;
    Start(std::move(engine));
  }
  // Two nodes and no pods: it decides.
  void Sync() {
    pb::SyncRequest message;
    for (const int kind : {pb::SYNC_KIND_NODES, pb::SYNC_KIND_PODS, pb::SYNC_KIND_QUEUES}) {
      message.mutable_open()->add_kinds(static_cast<pb::SyncKind>(kind));
    }
    Tell(message);
    for (const char* name : {"n0", "n1"}) {
      pb::NodeSpec& node = *message.mutable_deltas()->add_deltas()->mutable_node()->mutable_spec();
      node.set_name(name);
      node.set_cpu_milli(32'000);
      node.set_memory_mib(65'536);
      for (int c = 0; c < 4; ++c) {
        pb::CardSpec& card = *node.add_cards();
        card.set_uuid(std::string(name) + "-" + std::to_string(c));
        card.set_model("A100");
        card.set_memory_mib(40'960);
      }
    }
    Tell(message);
    for (const int kind : {pb::SYNC_KIND_NODES, pb::SYNC_KIND_PODS, pb::SYNC_KIND_QUEUES}) {
      message.mutable_complete()->add_kinds(static_cast<pb::SyncKind>(kind));
    }
    Tell(message);
    BASALT_FUZZ_CHECK(service_->ready());
  }
  // The generation is the next one unless the message says another.
  void Tell(pb::SyncRequest message) {
    if (message.has_open()) {
      const auto answer = service_->SyncOpen(caller_, message.open(), ++stream_, now_);
      if (answer.ok()) generation_ = 0;
      Check(answer);
    } else if (message.has_deltas()) {
      if (message.deltas().generation() == 0) {
        message.mutable_deltas()->set_generation(++generation_);
      }
      Check(service_->SyncDeltas(message.deltas(), stream_, now_));
    } else if (message.has_complete()) {
      if (message.complete().generation() == 0) {
        message.mutable_complete()->set_generation(generation_);
      }
      Check(service_->SyncComplete(message.complete(), stream_, now_));
    }
  }
  // An answer that its reader refuses would end the reader's stream.
  template <class Body>
  void Check(const service::Answer<Body>& answer) {
    BASALT_FUZZ_CHECK(answer.ok() || !answer.message.empty());
    Body read;
    BASALT_FUZZ_CHECK(read.ParseFromString(answer.body.SerializeAsString()));
  }
  void Wait(std::int64_t micros) {
    now_ = now_.Plus(micros);
    service_->Tick(now_);
  }
  void Finish() {
    BASALT_FUZZ_CHECK(service_->Audit().has_value());
    service::MetricsText text;
    service_->WriteMetrics(&text);
    BASALT_FUZZ_CHECK(simdjson::validate_utf8(text.Text()));
    for (const pb::WatchEvent& event : service_->WatchAfter(0, 10'000)) {
      pb::WatchEvent read;
      BASALT_FUZZ_CHECK(read.ParseFromString(event.SerializeAsString()));
    }
    Restart();
    BASALT_FUZZ_CHECK(service_->Audit().has_value());
  }
  service::Service& service() { return *service_; }
  std::unique_ptr<service::Service> Take() { return std::move(service_); }
  SimTime now() const { return now_; }
  const service::Caller& caller() const { return caller_; }

 private:
  service::ClusterConfig config_;
  KeepingStore store_;
  service::Caller caller_{"fuzz", true};
  SimTime now_ = SimTime::Seconds(1'000);
  std::uint64_t boot_ = 0, stream_ = 0, generation_ = 0;
  std::unique_ptr<service::Service> service_;
};

// A row of messages: a byte that says of which kind, two for the length, and the message.
inline void ServerCalls(std::string_view input) {
  // It would tell of every message that it cannot read.
  static google::protobuf::LogHandler* const before = google::protobuf::SetLogHandler(nullptr);
  static_cast<void>(before);
  Asked asked;
  asked.Sync();
  const auto call = [&](std::string_view bytes, auto request, auto method) {
    if (!request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
    asked.Check((asked.service().*method)(asked.caller(), request, asked.now()));
  };
  int messages = 0;
  while (input.size() >= 3 && ++messages <= 64) {
    const auto kind = static_cast<unsigned char>(input[0]);
    const auto length = std::min<std::size_t>(
        static_cast<unsigned char>(input[1]) + 256U * static_cast<unsigned char>(input[2]),
        input.size() - 3);
    const std::string_view bytes = input.substr(3, length);
    input.remove_prefix(3 + length);
    using S = service::Service;
    switch (kind % 14) {
      case 0: {
        pb::SyncRequest message;
        if (message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
          asked.Tell(std::move(message));
        }
        break;
      }
      case 1:
        call(bytes, pb::ProposeRequest(), &S::Propose);
        break;
      case 2:
        call(bytes, pb::ReserveRequest(), &S::Reserve);
        break;
      case 3:
        call(bytes, pb::ConfirmRequest(), &S::Confirm);
        break;
      case 4:
        call(bytes, pb::RenewRequest(), &S::Renew);
        break;
      case 5:
        call(bytes, pb::ReleaseRequest(), &S::Release);
        break;
      case 6:
        call(bytes, pb::BatchRequest(), &S::Batch);
        break;
      case 7:
        call(bytes, pb::EvaluateRequest(), &S::Evaluate);
        break;
      case 8:
        call(bytes, pb::EvictRequest(), &S::Evict);
        break;
      case 9:
        call(bytes, pb::ExplainRequest(), &S::Explain);
        break;
      case 10:
        call(bytes, pb::ReportUsageRequest(), &S::ReportUsage);
        break;
      case 11:
        call(bytes, pb::AckActionRequest(), &S::AckAction);
        break;
      case 12:
        asked.Wait(static_cast<std::int64_t>(length) * 1'000'000);
        break;
      default:
        asked.Restart();
    }
  }
  asked.Finish();
}

// The path's last two parts, a line's end, and the body: "volcano/predicate\n{...}". Whatever is
// posted, the answer is JSON or text, and the books balance.
inline void ExtenderBody(std::string_view input) {
  const std::size_t end = std::min(input.find('\n'), input.size());
  const std::string path = "/v1/c/" + std::string(input.substr(0, end));
  const std::string body(input.substr(std::min(end + 1, input.size())));
  static const rpc::ServerClock clock(SimTime{0});
  Asked asked;  // keeps the store
  asked.Sync();
  std::vector<std::unique_ptr<rpc::Room>> list;
  list.push_back(std::make_unique<rpc::Room>(
      asked.Take(), 8, &clock, [](const std::string&, std::uint64_t) { return true; }));
  rpc::Rooms rooms(std::move(list), &clock);
  http::ExtenderOptions options;
  options.bind = std::chrono::milliseconds(0);  // no executor is there to wait for
  http::Routes routes(&rooms, options);
  for (int twice = 0; twice < 2; ++twice) {
    const http::HttpAnswer answer = routes.Post(path, body);
    BASALT_FUZZ_CHECK(answer.status == 200 || answer.status == 400 || answer.status == 404 ||
                      answer.status == 503);
    BASALT_FUZZ_CHECK(simdjson::validate_utf8(answer.body));
    if (answer.type != "application/json") continue;
    simdjson::dom::parser parser;
    simdjson::dom::element read;
    BASALT_FUZZ_CHECK(parser.parse(answer.body).get(read) == simdjson::SUCCESS);
  }
  rooms.all().front()->With(
      [](service::Service& s, SimTime) { BASALT_FUZZ_CHECK(s.Audit().has_value()); });
}

// What a server left on its disk, and changes to it: (file, offset in two bytes, byte to write);
// file 4 to 7 of the first byte's low bits: the file ends at that offset. What is recovered
// balances, and a second start after the cut finds the same.
inline void StoreFiles(std::string_view input) {
  namespace fs = std::filesystem;
  static const support::TempDir made;
  static const std::string folder = made / "store";
  static const char* const kFiles[] = {"c/snapshot-1", "c/journal-1", "c/snapshot-2",
                                       "c/journal-2"};
  service::ClusterConfig config;
  config.id = "c";
  config.policy = "binpack";
  const auto options = service::EngineOptionsOf(config, ServerEnvironment());
  store::FileStoreOptions keep;
  keep.sync = {store::SyncPolicy::Kind::kNever, 100};
  keep.min_free_bytes = 0;
  // The two generations of a small cluster, made once.
  static const std::vector<std::string> originals = [&] {
    fs::remove_all(folder);
    auto files = store::FileStore::Open(folder, keep);
    BASALT_FUZZ_CHECK(files.has_value());
    BASALT_FUZZ_CHECK(
        (*files)->Recover("c", *Policies().Configure("binpack"), *options).has_value());
    auto engine = Engine::Create(*Policies().Configure("binpack"), *options);
    std::uint64_t pod = 0;
    for (int generation = 0; generation < 2; ++generation) {
      const auto sink = (*files)->Begin("c", (*engine)->Snapshot());
      BASALT_FUZZ_CHECK(sink.has_value());
      (*engine)->RestartJournal(*sink);
      const SimTime now = SimTime::Seconds(10 + generation);
      NodeSpec node;
      node.name = "n" + std::to_string(generation);
      node.cpu_milli = 8'000;
      node.memory_mib = 8'192;
      node.cards.resize(2);
      node.cards[0].model = node.cards[1].model = "A100";
      BASALT_FUZZ_CHECK((*engine)->Apply(NodeAdded{node}, now).has_value());
      RequestSpec spec;
      spec.cpu_milli = 1'000;
      spec.gpus = 1;
      spec.gpu_milli = 500;
      const ShapeId shape = *(*engine)->InternShape(spec);
      for (int p = 0; p < 3; ++p) {
        const Request request{PodUid{1, ++pod}, 0, shape, 0, Standing{}, nullptr};
        BASALT_FUZZ_CHECK((*engine)->Place(request, now).placed());
      }
      BASALT_FUZZ_CHECK((*engine)->Release(PodUid{1, pod}, now).has_value());
    }
    (*engine)->RestartJournal(nullptr);
    files->reset();
    std::vector<std::string> out;
    for (const char* name : kFiles) {
      std::ifstream in(folder + "/" + name, std::ios::binary);
      out.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
      BASALT_FUZZ_CHECK(!out.back().empty());
    }
    return out;
  }();
  std::vector<std::string> now = originals;
  for (; input.size() >= 4; input.remove_prefix(4)) {
    const auto which = static_cast<unsigned char>(input[0]) & 7U;
    std::string& file = now[which & 3U];
    const std::size_t at =
        static_cast<unsigned char>(input[1]) + 256U * static_cast<unsigned char>(input[2]);
    if (at >= file.size()) continue;
    if (which >= 4) {
      file.resize(at);
    } else {
      file[at] = input[3];
    }
  }
  for (std::size_t f = 0; f < now.size(); ++f) {
    std::ofstream(folder + "/" + kFiles[f], std::ios::binary | std::ios::trunc) << now[f];
  }
  const auto policy = *Policies().Configure("binpack");
  const auto first = store::Recover(folder + "/c", policy, *options);
  if (!first) {
    BASALT_FUZZ_CHECK(!first.error().message.empty());
    return;
  }
  BASALT_FUZZ_CHECK(first->engine != nullptr && first->engine->Audit().has_value());
  const auto second = store::Recover(folder + "/c", policy, *options);
  BASALT_FUZZ_CHECK(second.has_value() && second->cut_bytes == 0);
  BASALT_FUZZ_CHECK(second->engine->StateDigest() == first->engine->StateDigest());
}

}  // namespace basalt::fuzz
