// What device plugins register on a node: its cards, as HAMi's plugins (v2.4 .. v2.10), those of
// its vendors and Volcano's write them into node annotations; and the cards of vendors whose
// plugins write none and that HAMi counts from the node's capacity. One reader for the live server
// and for the trace importer.
//
// Reading is tolerant of what versions differ in (member order, unknown members, members left out
// because they are zero, more fields than are known) and of nothing else: a register that does not
// mean what it says is refused whole, so that cards never vanish from under pods by a slip.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "devices/catalog.h"
#include "devices/resources.h"
#include "scheduler-core/base/result.h"

namespace basalt::devices {

// Which HAMi wrote an NVIDIA register, as far as the register shows it. What is written differs:
// slots for init containers from v2.9 on, MIG by placement from v2.10 on (docs/devices.md).
enum class HamiVersion : std::uint8_t {
  kUnknown,  // another vendor's register; written as the newest
  kV2_7,     // text: v2.4 .. v2.7
  kV2_8,     // JSON with devicepairscore: v2.8, v2.9
  kV2_10,    // JSON without it
};

struct RegisteredMig {
  std::string name = {};
  MiB memory_mib = 0;
  friend bool operator==(const RegisteredMig&, const RegisteredMig&) = default;
};

struct RegisteredCard {
  std::string uuid = {};    // as annotations name it; never empty
  std::string type = {};    // as registered: "NVIDIA A30"
  std::int32_t index = -1;  // by which the plugin counts; -1: not told, then its place in the list
  std::string minor = {};   // Enflame
  MiB memory_mib = 0;       // that may be handed out, with oversubscription; 0: not told
  std::int32_t slots = 0;   // how many may share it; 0: not told
  std::int32_t cores = 0;   // compute, where a whole card is 100 or the model's cores; 0: not told
  std::int32_t numa = -1;   // -1: the form does not tell
  std::int32_t group = -1;  // HCCS network, link zone; -1: none
  bool healthy = false;
  std::string mode = {};  // "hami-core", "mig", "mps"; empty: the form has none
  std::vector<RegisteredMig> mig = {};
  friend bool operator==(const RegisteredCard&, const RegisteredCard&) = default;
};

struct Register {
  std::string key = {};       // of the annotation, or of the resource that was counted
  std::string platform = {};  // Interface::platform that its plugin understands
  std::string vendor = {};    // of the catalog; empty: none, or the types tell
  std::string word = {};      // CardModel::word, where the key holds it (Ascend, Iluvatar)
  bool counted = false;       // from capacity: ids are made up, models guessed
  HamiVersion version = HamiVersion::kUnknown;
  std::vector<RegisteredCard> cards = {};               // as listed
  std::map<std::string, std::string> profile_ids = {};  // Enflame: template -> id of it
};

// Whether the annotation is a register.
bool IsRegister(std::string_view key);

// One register; `node` is the node's name, for ids that are made of it. Errors (where: the key):
// not the form that the key has, a field out of range, a card without or with another's UUID.
Result<Register> ReadRegister(std::string_view key, std::string_view text, const std::string& node);

// All registers among a node's annotations, ascending by key. Errors: as above, of the first.
Result<std::vector<Register>> ReadRegisters(const std::map<std::string, std::string>& annotations,
                                            const std::string& node);

// Cards that the node's capacity tells of, of vendors without a register in the list: with HAMi's
// made-up ids (Cambricon, Moore Threads, MetaX, Kunlunxin and Enflame whole), and those of NVIDIA's
// and AMD's own plugins, which know no ids (`platform` "plugin", "NODE/INDEX"). `labels`: of the
// node; how many cards there are where nvidia.com/gpu counts shares. Errors (where: the resource):
// no quantity, or more than 64 cards.
Result<std::vector<Register>> CountCards(const Amounts& capacity,
                                         const std::map<std::string, std::string>& labels,
                                         const std::string& node,
                                         const std::vector<Register>& registers);

// Names under which the vendor's cards are counted where nothing is registered, each with the
// platform whose plugin that is.
std::vector<std::pair<std::string, std::string>> CountedNames(std::string_view vendor);

// The catalog's model for a type as plugins spell it ("NVIDIA-Tesla V100-SXM2-32GB", "DCU-Z100");
// null: unknown.
const CardModel* ModelOfType(const Catalog& catalog, std::string_view type);

// A cut of a text at a character, with its empty parts.
std::vector<std::string_view> SplitAt(std::string_view text, char at);

}  // namespace basalt::devices
