// `basalt ctl`: what operators tell a running server, over gRPC. The commands about pods and cards
// are told to executors by the server; `--wait` stays until they have ended.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "adapters/rpc/listener.h"
#include "adapters/rpc/placement.grpc.pb.h"
#include "cli/common.h"

namespace basalt::cli {
namespace {

namespace pb = placement::v1;

struct CtlInput {
  std::string target = "unix:/run/basalt/basalt.sock";
  std::string cluster, ca, cert, key;
  std::int64_t timeout_s = 10;
  Format format = Format::kTable;
  // Of a command.
  std::string id, reason, node, mode;
  std::int64_t ttl_s = 600;
  bool wait = false;
  pb::CommandRequest request;
};

std::string Short(const std::string& name, std::string_view prefix) {
  std::string text = name.starts_with(prefix) ? name.substr(prefix.size()) : name;
  for (char& c : text) c = c == '_' ? '-' : static_cast<char>(std::tolower(c));
  return text;
}

Result<std::unique_ptr<pb::Admin::Stub>> Dial(const CtlInput& input) {
  const Result<rpc::Address> address = rpc::ParseAddress("--target", input.target);
  if (!address) return tl::unexpected<Error>(address.error());
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (!input.ca.empty()) {
    grpc::SslCredentialsOptions tls;
    for (const auto& [file, text] : {std::pair{&input.ca, &tls.pem_root_certs},
                                     {&input.cert, &tls.pem_cert_chain},
                                     {&input.key, &tls.pem_private_key}}) {
      if (file->empty()) continue;
      Result<std::string> read = ReadFile(*file, std::size_t{1} << 20);
      if (!read) return tl::unexpected<Error>(read.error());
      *text = std::move(*read);
    }
    credentials = grpc::SslCredentials(tls);
  } else if (!rpc::IsLocal(*address)) {
    return Fail("--target " + input.target,
                "is on another machine: name the server's CA with --ca");
  }
  return pb::Admin::NewStub(grpc::CreateChannel(address->ToString(), credentials));
}

void SetDeadline(const CtlInput& input, grpc::ClientContext* context) {
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(input.timeout_s));
}

Status ToStatus(const CtlInput& input, const grpc::Status& status) {
  if (status.ok()) return {};
  return Fail(input.target, status.error_message());
}

// What a command is about, and where it stands.
std::vector<std::string> RowOf(const pb::CommandState& state) {
  const pb::CommandRequest& command = state.command();
  const bool card = command.kind() == pb::ACTION_KIND_MOVE_CARD;
  const std::string pod = state.pod().name().empty()
                              ? state.pod().uid()
                              : state.pod().namespace_() + "/" + state.pod().name();
  return {command.id(),
          Short(pb::ActionKind_Name(command.kind()), "ACTION_KIND_"),
          card ? command.card_uuid() : pod,
          state.to().node().empty() ? state.node() : state.node() + " to " + state.to().node(),
          Short(pb::CommandPhase_Name(state.phase()), "COMMAND_PHASE_"),
          state.reason()};
}

void PrintStates(const CtlInput& input, const std::vector<pb::CommandState>& states) {
  report::Table table;
  table.header = {"id", "command", "of", "node", "phase", "reason"};
  for (const pb::CommandState& state : states) table.rows.push_back(RowOf(state));
  if (input.format != Format::kJson) return Print(table, input.format);
  nlohmann::json list = nlohmann::json::array();
  for (const std::vector<std::string>& row : table.rows) {
    nlohmann::json one;
    for (std::size_t i = 0; i < row.size(); ++i) one[table.header[i]] = row[i];
    list.push_back(std::move(one));
  }
  Print(list);
}

Result<std::vector<pb::CommandState>> List(const CtlInput& input, pb::Admin::Stub* stub) {
  pb::ListCommandsRequest request;
  request.mutable_header()->set_cluster(input.cluster);
  pb::ListCommandsResponse response;
  grpc::ClientContext call;
  SetDeadline(input, &call);
  if (Status ok = ToStatus(input, stub->ListCommands(&call, request, &response)); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  return std::vector<pb::CommandState>(response.commands().begin(), response.commands().end());
}

bool IsOver(const pb::CommandState& state) {
  return state.phase() == pb::COMMAND_PHASE_DONE || state.phase() == pb::COMMAND_PHASE_FAILED;
}

// The last that ended are listed, too.
Result<pb::CommandState> WaitFor(const CtlInput& input, pb::Admin::Stub* stub,
                                 pb::CommandState state) {
  while (!IsOver(state)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    const auto states = List(input, stub);
    if (!states) return tl::unexpected<Error>(states.error());
    const auto it = std::ranges::find(*states, state.command().id(),
                                      [](const auto& s) { return s.command().id(); });
    if (it == states->end()) return Fail(state.command().id(), "the server does not know it");
    state = *it;
  }
  return state;
}

Result<pb::CommandState> Send(CtlInput* input) {
  auto stub = Dial(*input);
  if (!stub) return tl::unexpected<Error>(stub.error());
  if (input->id.empty()) {
    std::random_device random;
    input->id = Short(pb::ActionKind_Name(input->request.kind()), "ACTION_KIND_") + "-" +
                std::to_string(random()) + std::to_string(random());
  }
  pb::CommandRequest& request = input->request;
  request.mutable_header()->set_cluster(input->cluster);
  request.mutable_header()->set_scheduler("basalt ctl");
  request.set_id(input->id);
  request.set_reason(input->reason);
  request.set_ttl_us(input->ttl_s * 1'000'000);
  pb::CommandState state;
  grpc::Status status;
  for (int tries = 0; tries < 3; ++tries) {  // under its id it is one command
    grpc::ClientContext call;
    SetDeadline(*input, &call);
    status = (*stub)->Command(&call, request, &state);
    if (status.error_code() != grpc::StatusCode::UNAVAILABLE) break;
  }
  if (Status ok = ToStatus(*input, status); !ok) return tl::unexpected<Error>(ok.error());
  if (!input->wait) return state;
  return WaitFor(*input, stub->get(), std::move(state));
}

void AddCommand(CLI::App* app, Context* context, std::shared_ptr<CtlInput> input,
                pb::ActionKind kind) {
  app->add_option("--id", input->id, "name of the command; said again it is the same one");
  app->add_option("--reason", input->reason, "for whoever reads of it");
  app->add_option("--ttl", input->ttl_s, "seconds after which it is given up (default 600)")
      ->check(WholeIn(1, 86'400));
  app->add_flag("--wait", input->wait, "until it has ended; exit code 1 if it failed");
  app->callback([input, context, kind] {
    input->request.set_kind(kind);
    const auto state = Send(input.get());
    if (!state) return context->BadInput(state.error());
    PrintStates(*input, {*state});
    if (state->phase() == pb::COMMAND_PHASE_FAILED) context->exit_code = kGateFailed;
  });
}

void AddForPod(CLI::App* app, Context* context, std::shared_ptr<CtlInput> input,
               pb::ActionKind kind) {
  app->add_option_function<std::string>(
         "pod", [input](const std::string& uid) { input->request.set_pod_uid(uid); }, "its UID")
      ->type_name("UID")
      ->required();
  AddCommand(app, context, std::move(input), kind);
}

}  // namespace

void AddCtl(CLI::App* app, Context* context) {
  auto input = std::make_shared<CtlInput>();
  app->require_subcommand(1);
  app->add_option("--target", input->target, "the server (default unix:/run/basalt/basalt.sock)")
      ->type_name("ADDRESS");
  app->add_option("--cluster", input->cluster, "which cluster, where it has several")
      ->type_name("NAME");
  app->add_option("--ca", input->ca, "CA of the server's certificate")->type_name("FILE");
  app->add_option("--cert", input->cert, "client certificate")->type_name("FILE");
  app->add_option("--key", input->key, "its key")->type_name("FILE");
  app->add_option("--timeout", input->timeout_s, "seconds of a call (default 10)")
      ->check(WholeIn(1, 600));
  AddFormat(app, &input->format);
  app->add_subcommand("commands", "the commands that are open, and the last that ended")
      ->callback([input, context] {
        auto stub = Dial(*input);
        if (!stub) return context->BadInput(stub.error());
        const auto states = List(*input, stub->get());
        if (!states) return context->BadInput(states.error());
        PrintStates(*input, *states);
      });
  AddForPod(app->add_subcommand("block", "stop a pod's computing; its place is kept"), context,
            input, pb::ACTION_KIND_BLOCK);
  AddForPod(app->add_subcommand("resume", "let it compute again"), context, input,
            pb::ACTION_KIND_RESUME);
  AddForPod(app->add_subcommand("evict", "end a pod"), context, input, pb::ACTION_KIND_EVICT);
  AddForPod(app->add_subcommand("commit-and-exit", "end a pod once its work is saved"), context,
            input, pb::ACTION_KIND_COMMIT_AND_EXIT);
  CLI::App* migrate =
      app->add_subcommand("migrate", "end a pod; its place elsewhere waits for its successor");
  migrate->add_option_function<std::string>(
      "--to", [input](const std::string& node) { input->request.set_node(node); },
      "this node (default: any other)");
  migrate->add_flag_callback(
      "--commit", [input] { input->request.set_commit(true); }, "save its work first");
  AddForPod(migrate, context, input, pb::ACTION_KIND_MIGRATE);
  CLI::App* move = app->add_subcommand("move-card", "a card joins another pool, once it is empty");
  move->add_option_function<std::string>(
          "node", [input](const std::string& node) { input->request.set_node(node); }, "its node")
      ->required();
  move->add_option_function<std::string>(
          "card", [input](const std::string& card) { input->request.set_card_uuid(card); },
          "its UUID")
      ->required();
  move->add_option("mode", input->mode, "what it is to be")
      ->required()
      ->check(CLI::IsMember({"shared", "exclusive", "mig", "passthrough"}));
  move->add_flag_callback(
      "--evict", [input] { input->request.set_evict(true); }, "end the pods on it");
  AddCommand(move, context, input, pb::ACTION_KIND_MOVE_CARD);
  move->parse_complete_callback([input] {
    const std::vector<std::string> modes = {"shared", "exclusive", "mig", "passthrough"};
    const auto at = std::ranges::find(modes, input->mode) - modes.begin();
    input->request.set_mode(static_cast<pb::CardMode>(at));
  });
}

}  // namespace basalt::cli
