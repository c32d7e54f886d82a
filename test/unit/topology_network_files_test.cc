#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "topology/files/hostlist.h"
#include "topology/files/network_files.h"

namespace basalt::topology {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Names = std::vector<std::string>;

std::vector<NodeLabels> Nodes(const Names& names) {
  std::vector<NodeLabels> nodes;
  for (const std::string& name : names) nodes.push_back({name, {}});
  return nodes;
}

template <class T>
std::string ErrorOf(const Result<T>& result) {
  return result ? "no error" : result.error().ToString();
}

// Sizes of the domains of a tier, by path, ascending.
std::vector<int> Sizes(const NetworkMap& map, int tier) {
  std::map<NetworkPath, int> sizes;
  for (const auto& [node, path] : map.paths) {
    EXPECT_TRUE(ValidatePath(path, node));
    for (auto at = path.begin(); at != path.end(); ++at) {
      if (at->tier == tier) ++sizes[NetworkPath(at, path.end())];
    }
  }
  std::vector<int> out;
  for (const auto& [path, size] : sizes) out.push_back(size);
  std::sort(out.begin(), out.end());
  return out;
}

// Every prefix gives a value or an error, and ends.
template <class Read>
void EveryPrefix(const std::string& text, Read read) {
  for (std::size_t size = 0; size <= text.size(); ++size) {
    const Result<NetworkMap> map = read(text.substr(0, size));
    if (!map) continue;
    for (const auto& [node, path] : map->paths) ASSERT_TRUE(ValidatePath(path, node)) << size;
  }
}

// ---- Host lists ----

TEST(Hostlist, Expands) {
  EXPECT_EQ(*ExpandHostlist("n1"), Names{"n1"});
  EXPECT_THAT(*ExpandHostlist("n[0-2,9],m"), ElementsAre("n0", "n1", "n2", "n9", "m"));
  EXPECT_THAT(*ExpandHostlist("n[08-10].x"), ElementsAre("n08.x", "n09.x", "n10.x"));
  EXPECT_THAT(*ExpandHostlist("r[0-1]n[2,4]"), ElementsAre("r0n2", "r0n4", "r1n2", "r1n4"));
}

TEST(Hostlist, RefusesWhatIsNone) {
  for (const char* bad : {"",
                          ",",
                          "a,",
                          ",a",
                          "n[",
                          "n]",
                          "n[]",
                          "n[1",
                          "n[a]",
                          "n[3-1]",
                          "n[1-]",
                          "n[-1]",
                          "n[1,]",
                          "n[[1]]",
                          "a b",
                          "n[1-2-3]",
                          "n[0-9999999999]",
                          "n[+1]",
                          "a=b",
                          "n\x01"}) {
    EXPECT_FALSE(ExpandHostlist(bad)) << bad;
  }
}

TEST(Hostlist, IsBounded) {
  EXPECT_EQ(ExpandHostlist("n[1-200000]")->size(), kMaxNodeNames);
  EXPECT_FALSE(ExpandHostlist("n[1-200001]"));
  EXPECT_FALSE(ExpandHostlist("n[1-999999999]"));
  EXPECT_FALSE(ExpandHostlist("a[1-1000]b[1-1000]"));
  EXPECT_FALSE(ExpandHostlist("n[1-200000],m"));
  EXPECT_FALSE(ExpandHostlist(std::string(254, 'a')));
  EXPECT_FALSE(ExpandHostlist(std::string(250, 'a') + "[1000-1001]"));
  EXPECT_FALSE(ExpandHostlist("a,b,c", 2));
}

// ---- HyperNodes ----

std::string HyperNode(const std::string& name, int tier, const std::string& members) {
  return fmt::format(
      "---\napiVersion: topology.volcano.sh/v1alpha1\nkind: HyperNode\nmetadata:\n  name: {}\n"
      "spec:\n  tier: {}\n  members:\n{}",
      name, tier, members);
}
std::string NodeMember(const std::string& name) {
  return fmt::format("  - type: Node\n    selector:\n      exactMatch: {{name: {}}}\n", name);
}
std::string ChildMember(const std::string& name) {
  return fmt::format("  - type: HyperNode\n    selector:\n      exactMatch: {{name: {}}}\n", name);
}
std::string PatternMember(const std::string& pattern) {
  return fmt::format("  - type: Node\n    selector:\n      regexMatch: {{pattern: '{}'}}\n",
                     pattern);
}

// Volcano's own example: s0..s3 of tier 1, s4 and s5 of tier 2, s6 of tier 3.
std::string VolcanoExample() {
  std::string text;
  for (int s = 0; s < 4; ++s) {
    text += HyperNode(
        fmt::format("s{}", s), 1,
        NodeMember(fmt::format("node{}", 2 * s)) + NodeMember(fmt::format("node{}", 2 * s + 1)));
  }
  return text + HyperNode("s4", 2, ChildMember("s0") + ChildMember("s1")) +
         HyperNode("s5", 2, ChildMember("s2") + ChildMember("s3")) +
         HyperNode("s6", 3, ChildMember("s4") + ChildMember("s5"));
}

TEST(HyperNodes, VolcanosExample) {
  const auto map = ReadHyperNodes(VolcanoExample(), "hn.yaml", Nodes(*ExpandHostlist("node[0-7]")));
  ASSERT_TRUE(map) << ErrorOf(map);
  EXPECT_EQ(map->paths.at("node5"), (NetworkPath{{1, "s2"}, {2, "s5"}, {3, "s6"}}));
  EXPECT_THAT(Sizes(*map, 1), ElementsAre(2, 2, 2, 2));
  EXPECT_THAT(Sizes(*map, 2), ElementsAre(4, 4));
  EXPECT_EQ(map->tier_names.at(3), "tier3");
  EXPECT_THAT(map->warnings, IsEmpty());
}

TEST(HyperNodes, TreesOfMixedDepth) {
  // A node directly under tier 3, and a branch that skips tier 2; a second root.
  const auto map = ReadHyperNodes(
      HyperNode("deep", 1, NodeMember("a")) + HyperNode("mid", 2, ChildMember("deep")) +
          HyperNode("flat", 1, NodeMember("b")) +
          HyperNode("top", 3, ChildMember("mid") + ChildMember("flat") + NodeMember("c")) +
          HyperNode("alone", 2, NodeMember("d")),
      "hn.yaml", Nodes({"a", "b", "c", "d", "e"}));
  ASSERT_TRUE(map) << ErrorOf(map);
  EXPECT_EQ(map->paths.at("a"), (NetworkPath{{1, "deep"}, {2, "mid"}, {3, "top"}}));
  EXPECT_EQ(map->paths.at("b"), (NetworkPath{{1, "flat"}, {3, "top"}}));
  EXPECT_EQ(map->paths.at("c"), (NetworkPath{{3, "top"}}));
  EXPECT_EQ(map->paths.at("d"), (NetworkPath{{2, "alone"}}));
  EXPECT_FALSE(map->paths.contains("e"));
  EXPECT_THAT(map->warnings,
              ElementsAre("hn.yaml: 1 of 5 nodes are not named here and in no domain: e"));
}

TEST(HyperNodes, PatternsMatchAnywhereUnlessAnchored) {
  const auto nodes = Nodes({"gpu-1", "gpu-10", "my-gpu-1", "cpu-1"});
  const auto members = [&nodes](const std::string& pattern) {
    const auto map = ReadHyperNodes(HyperNode("s", 1, PatternMember(pattern)), "hn.yaml", nodes);
    EXPECT_TRUE(map) << ErrorOf(map);
    Names names;
    for (const auto& [name, path] : map ? map->paths : decltype(map->paths)()) {
      names.push_back(name);
    }
    return names;
  };
  EXPECT_THAT(members("gpu-1"), ElementsAre("gpu-1", "gpu-10", "my-gpu-1"));
  EXPECT_THAT(members("^gpu-1"), ElementsAre("gpu-1", "gpu-10"));
  EXPECT_THAT(members("^gpu-[0-9]+$"), ElementsAre("gpu-1", "gpu-10"));
  EXPECT_THAT(members("^gpu-1$|^cpu"), ElementsAre("cpu-1", "gpu-1"));
  EXPECT_THAT(members("^gpu-10?$"), ElementsAre("gpu-1", "gpu-10"));
  EXPECT_THAT(members("^(?:g|c)pu-\\d{1,2}$"), ElementsAre("cpu-1", "gpu-1", "gpu-10"));
}

TEST(HyperNodes, PatternsCannotStopUs) {
  const auto nodes = Nodes({std::string(253, 'a'), std::string(5000, 'a')});
  const auto read = [&nodes](const std::string& pattern) {
    return ReadHyperNodes(HyperNode("s", 1, PatternMember(pattern)), "hn.yaml", nodes);
  };
  EXPECT_TRUE(read("^(a+)+b$"));  // exponential when it backtracks
  EXPECT_TRUE(read("((a?){6}){6}b"));
  std::string optional;  // as many steps without a character as there can be
  while (optional.size() < 250) optional += "a?";
  EXPECT_TRUE(read("(" + optional + "){2}b"));
  EXPECT_FALSE(read("(" + optional + "){3}b"));
  EXPECT_THAT(ErrorOf(read("((a{1000}){1000}){1000}")), HasSubstr("longer than 512"));
  EXPECT_THAT(ErrorOf(read(std::string(257, 'a'))), HasSubstr("longer than 256"));
  EXPECT_TRUE(read(std::string(127, '(') + "a" + std::string(127, ')')));
  for (const char* bad : {"(", "[", "*", "a{", "(?=a)", "(?i)a", "(a)\\1", "\\pL", "\\Aa", "\\"}) {
    EXPECT_FALSE(read(bad)) << bad;
  }
}

TEST(HyperNodes, LabelsChoose) {
  const std::vector<NodeLabels> nodes = {{"a", {{"tor", "1"}, {"gpu", "h100"}}},
                                         {"b", {{"tor", "2"}}},
                                         {"c", {{"tor", "1"}}},
                                         {"d", {}}};
  const auto read = [&nodes](const std::string& match) {
    const auto map = ReadHyperNodes(
        HyperNode("s", 1, "  - type: Node\n    selector: {labelMatch: {" + match + "}}\n"), "f",
        nodes);
    if (!map) return ErrorOf(map);
    std::string names;
    for (const auto& [name, path] : map->paths) names += name;
    return names;
  };
  EXPECT_EQ(read("matchLabels: {tor: '1'}"), "ac");
  EXPECT_EQ(read("matchLabels: {tor: 1, gpu: h100}"), "a");
  EXPECT_EQ(read("matchExpressions: [{key: tor, operator: In, values: ['1', '2']}]"), "abc");
  EXPECT_EQ(read("matchExpressions: [{key: tor, operator: NotIn, values: ['1']}]"), "bd");
  EXPECT_EQ(read("matchExpressions: [{key: tor, operator: Exists}]"), "abc");
  EXPECT_EQ(read("matchExpressions: [{key: tor, operator: DoesNotExist}]"), "d");
  EXPECT_EQ(read("matchLabels: {tor: 1}, matchExpressions: [{key: gpu, operator: DoesNotExist}]"),
            "c");
  EXPECT_EQ(read(""), "");  // as in Volcano, not "all"
  EXPECT_THAT(read("matchExpressions: [{key: tor, operator: Gt, values: ['1']}]"),
              HasSubstr("unknown operator \"Gt\""));
  EXPECT_THAT(read("matchExpressions: [{key: tor, operator: In}]"), HasSubstr("values"));
}

TEST(HyperNodes, JsonListAsKubectlPrintsIt) {
  const std::string text = R"({"apiVersion": "v1", "kind": "List", "items": [
    {"apiVersion": "topology.volcano.sh/v1alpha1", "kind": "HyperNode", "metadata": {"name": "s0"},
     "spec": {"tier": 1, "tierName": "tor", "members": [
       {"type": "Node", "selector": {"exactMatch": {"name": "n1"}}}]}},
    {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}]})";
  const auto map = ReadNetwork(text, "hn.json", Nodes({"n1"}));
  ASSERT_TRUE(map) << ErrorOf(map);
  EXPECT_EQ(map->paths.at("n1"), (NetworkPath{{1, "s0"}}));
  EXPECT_EQ(map->tier_names.at(1), "tor");
}

TEST(HyperNodes, ErrorsNameTheirPlace) {
  const auto error = [](const std::string& text) { return ErrorOf(ReadHyperNodes(text, "f", {})); };
  const std::string a = HyperNode("a", 1, NodeMember("n"));
  EXPECT_EQ(error(a + HyperNode("b", 1, NodeMember("n"))),
            "f:16:9: node n is in HyperNode a and in b; it can be in one only");
  EXPECT_EQ(error(a + HyperNode("b", 2, ChildMember("a")) + HyperNode("c", 3, ChildMember("a"))),
            "f:33:26: HyperNode a is in HyperNode b and in c; it can be in one only");
  EXPECT_THAT(error(HyperNode("a", 1, ChildMember("b")) + HyperNode("b", 2, ChildMember("a"))),
              HasSubstr("is inside of itself: a in b in a"));
  EXPECT_THAT(error(HyperNode("a", 1, ChildMember("a"))), HasSubstr("a in a"));
  EXPECT_EQ(error(a + HyperNode("b", 1, ChildMember("a"))),
            "f:5:9: HyperNode a of tier 1 is a member of b of tier 1; a member's tier must be "
            "lower");
  EXPECT_THAT(error(HyperNode("top", 2, ChildMember("rack1"))), HasSubstr("no HyperNode rack1"));
  EXPECT_THAT(
      error(HyperNode("rack1", 1, NodeMember("n")) + HyperNode("top", 2, ChildMember("rack2"))),
      HasSubstr("did you mean \"rack1\"?"));
  EXPECT_THAT(error(a + a), HasSubstr("f:16:9: HyperNode a stands twice; first at f:5:9"));
  EXPECT_THAT(error(HyperNode("a", 0, NodeMember("n"))), HasSubstr("f:7:9: HyperNode a: tier"));
  EXPECT_THAT(error(HyperNode("a", 17, NodeMember("n"))), HasSubstr("1..16"));
  EXPECT_THAT(error("kind: HyperNode\n"), HasSubstr("apiVersion"));
  EXPECT_THAT(error("apiVersion: v1\n"), HasSubstr("\"kind\" is missing"));
  EXPECT_THAT(error("kind: Node\n"), HasSubstr("no object of kind HyperNode"));
  EXPECT_THAT(error(""), HasSubstr("no object of kind HyperNode"));
  EXPECT_THAT(error(","), HasSubstr("f:"));
  EXPECT_THAT(error("[1"), HasSubstr("f:"));
  EXPECT_THAT(error("- a\n"), HasSubstr("no Kubernetes object"));
  EXPECT_THAT(error(HyperNode("a", 1, "  - type: node\n")), HasSubstr("did you mean \"Node\"?"));
  EXPECT_THAT(error(HyperNode("a", 1, "  - type: Node\n    selector: {exact: {name: n}}\n")),
              HasSubstr("f:9:5: a member has one selector"));
  EXPECT_THAT(error(HyperNode("a", 1, "  - type: HyperNode\n    selector: {regexMatch: {}}\n")),
              HasSubstr("named with exactMatch"));
  EXPECT_THAT(error(std::string("a\0b", 3)), HasSubstr("NUL"));
  EXPECT_THAT(error(std::string(50000, '[')), HasSubstr("nested too deeply"));
}

TEST(HyperNodes, UnknownNodesAndEmptyPatternsAreWarnings) {
  const auto map =
      ReadHyperNodes(HyperNode("a", 1, NodeMember("n1") + NodeMember("gone") + PatternMember("x")),
                     "f", Nodes({"n1"}));
  ASSERT_TRUE(map) << ErrorOf(map);
  EXPECT_THAT(map->warnings,
              ElementsAre(HasSubstr("a member of HyperNode a matches no node"),
                          "f: a node is named here that the cluster does not have: gone"));
}

TEST(HyperNodes, EveryPrefixIsReadOrRefused) {
  const auto nodes = Nodes({"node0", "x1"});
  EveryPrefix(HyperNode("p", 1, PatternMember("^x[0-9]{1,2}$")) + VolcanoExample(),
              [&nodes](const std::string& t) { return ReadNetwork(t, "f", nodes); });
}

// ---- Slurm ----

TEST(Slurm, Tree) {
  const auto map = ReadSlurmTopology(
      "# a comment\nSwitchName=leaf0 Nodes=n[0-3] LinkSpeed=100\nswitchname=leaf1 \\\n"
      "  NODES=n[4-7]\nSwitchName=spine Switches=leaf[0-1]\nSwitchName=far Nodes=f0\n"
      "SwitchName=top Switches=spine,far\n",
      "topology.conf");
  ASSERT_TRUE(map) << ErrorOf(map);
  EXPECT_EQ(map->paths.at("n5"), (NetworkPath{{1, "leaf1"}, {2, "spine"}, {3, "top"}}));
  EXPECT_EQ(map->paths.at("f0"), (NetworkPath{{1, "far"}, {3, "top"}}));
  EXPECT_EQ(map->tier_names.at(1), "leaf");
  EXPECT_EQ(map->tier_names.at(3), "switch3");
}

TEST(Slurm, Blocks) {
  const auto map = ReadSlurmTopology(
      "BlockName=rack0 Nodes=g[00-17]\r\nBlockName=rack1 Nodes=g[18-35]\r\nBlockSizes=18,36\r\n",
      "f");
  ASSERT_TRUE(map) << ErrorOf(map);
  EXPECT_THAT(Sizes(*map, 1), ElementsAre(18, 18));
  EXPECT_EQ(map->paths.at("g07"), (NetworkPath{{1, "rack0"}}));
  EXPECT_EQ(map->tier_names.at(1), "block");
  EXPECT_THAT(map->warnings, ElementsAre(HasSubstr("f:3:1: of BlockSizes")));
}

TEST(Slurm, ErrorsNameTheirPlace) {
  const auto error = [](const std::string& text) { return ErrorOf(ReadSlurmTopology(text, "f")); };
  EXPECT_EQ(error("SwitchName=a Node=n1"), "f:1:14: unknown key \"Node\"; did you mean \"Nodes\"?");
  EXPECT_EQ(error("\nSwitchName=a Nodes=n[3-1]"), "f:2:14: range \"3-1\" runs backwards");
  EXPECT_EQ(error("SwitchName=a Nodes=n1\nSwitchName=b Nodes=n1"),
            "f:2:1: node n1 is in domain a and in b; it can be in one only");
  EXPECT_THAT(error("SwitchName=a Nodes=n1\nSwitchName=a Nodes=n2"), HasSubstr("stands twice"));
  EXPECT_THAT(error("SwitchName=a Switches=b\nSwitchName=b Switches=a"), HasSubstr("a in b in a"));
  EXPECT_THAT(error("SwitchName=a Nodes=n1\nSwitchName=b Switches=c"), HasSubstr("no domain c"));
  EXPECT_THAT(error("SwitchName=a"), HasSubstr("neither Nodes= and Switches="));
  EXPECT_THAT(error("SwitchName=a Nodes=n Switches=b"), HasSubstr("both"));
  EXPECT_THAT(error("Nodes=n"), HasSubstr("SwitchName= or BlockName= is missing"));
  EXPECT_THAT(error("BlockName=b Switches=s"), HasSubstr("it has Nodes="));
  EXPECT_THAT(error("BlockName=b Nodes=n\nSwitchName=s Switches=b"), HasSubstr("among the"));
  EXPECT_THAT(error("BlockName=b Nodes=n\nSwitchName=s Nodes=n"), HasSubstr("in b and in s"));
  EXPECT_THAT(error("BlockName=b SwitchName=s Nodes=n"), HasSubstr("one switch or one block"));
  EXPECT_THAT(error("SwitchName=a Nodes="), HasSubstr("Nodes has no value"));
  EXPECT_THAT(error("hello"), HasSubstr("\"hello\" is no key=value"));
  EXPECT_THAT(error(""), HasSubstr("no SwitchName="));
  EXPECT_THAT(error("SwitchName=a Nodes=n[1-200000]\nSwitchName=b Nodes=m1"),
              HasSubstr("too many names"));
  std::string chain = "SwitchName=s0 Nodes=n\n";
  for (int i = 1; i < 20; ++i) chain += fmt::format("SwitchName=s{} Switches=s{}\n", i, i - 1);
  EXPECT_THAT(error(chain), HasSubstr("above more than 15 tiers"));
}

TEST(Slurm, EveryPrefixIsReadOrRefused) {
  EveryPrefix(
      "# x\nSwitchName=leaf0 Nodes=n[0-7,9] LinkSpeed=1\nSwitchName=s Switches=leaf0\\\n\n"
      "BlockName=r Nodes=g[0-17]\nBlockSizes=18\n",
      [](const std::string& t) { return ReadNetwork(t, "f", {}); });
}

// ---- Our own ----

TEST(NetworkYaml, ListMapAndTree) {
  const auto map = ReadNetworkYaml(
      "levels: [nvlink, rack, zone]\n"
      "nodes:\n"
      "  - {node: n1, rack: r1, zone: z}\n"
      "  - {nodes: ['g[0-1]', h], nvlink: c0}\n"
      "tree:\n"
      "  z: {r2: {c1: 't[0-3]', c2: [u1, 'u[2-3]']}, r3: v, r4: }\n",
      "net.yaml");
  ASSERT_TRUE(map) << ErrorOf(map);
  EXPECT_EQ(map->paths.at("n1"), (NetworkPath{{2, "r1"}, {3, "z"}}));
  EXPECT_EQ(map->paths.at("h"), (NetworkPath{{1, "c0"}}));
  EXPECT_EQ(map->paths.at("t3"), (NetworkPath{{1, "c1"}, {2, "r2"}, {3, "z"}}));
  EXPECT_EQ(map->paths.at("u3"), (NetworkPath{{1, "c2"}, {2, "r2"}, {3, "z"}}));
  EXPECT_EQ(map->paths.at("v"), (NetworkPath{{2, "r3"}, {3, "z"}}));
  EXPECT_EQ(map->tier_names, (std::map<int, std::string>{{1, "nvlink"}, {2, "rack"}, {3, "zone"}}));
  const auto by_name =
      ReadNetworkYaml("levels: [rack]\nnodes:\n  n1: {rack: r1}\n  'm[0-1]': {rack: r2}\n", "f");
  ASSERT_TRUE(by_name) << ErrorOf(by_name);
  EXPECT_EQ(by_name->paths.at("m1"), (NetworkPath{{1, "r2"}}));
}

TEST(NetworkYaml, UnknownDomainsStayApart) {
  const auto map = ReadNetworkYaml(
      "levels: [rack, zone]\nnodes:\n- {node: a, rack: '', zone: z}\n- {node: b, rack: ~, zone: "
      "z}\n- {node: c, zone: z}\n",
      "f");
  ASSERT_TRUE(map) << ErrorOf(map);
  for (const auto& [node, path] : map->paths) EXPECT_EQ(path, (NetworkPath{{2, "z"}})) << node;
  EXPECT_THAT(map->warnings, ElementsAre("f:3: a: rack is empty: in no rack",
                                         "f:4: b: rack is empty: in no rack"));
}

TEST(NetworkYaml, ErrorsNameTheirPlaceAndAllAreReported) {
  const auto error = [](const std::string& text) { return ErrorOf(ReadNetworkYaml(text, "f")); };
  const std::string levels = "levels: [nvlink, rack]\n";
  EXPECT_EQ(error("level: [a]\nnodes: []\n"),
            "f:1:1: unknown key \"level\"; did you mean \"levels\"?\n"
            "f:1:1: \"levels\" is missing: the levels, narrow to wide");
  EXPECT_EQ(error(levels + "nodes:\n- {node: n, rak: r}\n- {nodes: 'n[3-1]', rack: r}\n"),
            "f:3:13: unknown key \"rak\"; did you mean \"rack\"?\n"
            "f:4:11: range \"3-1\" runs backwards");
  EXPECT_EQ(error(levels + "nodes:\n- {node: n, rack: r}\n- {nodes: 'n,m', rack: s}\n"),
            "f:4:3: node n stands twice; first in line 3");
  EXPECT_THAT(error(levels + "nodes: {n: {rack: r}}\ntree: {r: {c: n}}\n"),
              HasSubstr("f:3:15: node n stands twice; first in line 2"));
  EXPECT_THAT(error(levels), HasSubstr("neither"));
  EXPECT_THAT(error(levels + "nodes: x\n"), HasSubstr("f:2:8: nodes must be"));
  EXPECT_THAT(error(levels + "nodes: [n]\n"), HasSubstr("f:2:9: must be a map"));
  EXPECT_THAT(error(levels + "nodes: [{rack: r}]\n"), HasSubstr("is missing"));
  EXPECT_THAT(error(levels + "nodes: [{node: a, nodes: b}]\n"), HasSubstr("either"));
  EXPECT_THAT(error(levels + "nodes: [{node: a, rack: [r]}]\n"), HasSubstr("name of one domain"));
  EXPECT_THAT(error(levels + "nodes: {n: {node: n}}\n"), HasSubstr("unknown key \"node\""));
  EXPECT_THAT(error(levels + "tree: {r: {c: {d: n}}}\n"), HasSubstr("deeper than the 2 levels"));
  EXPECT_THAT(error(levels + "tree: n\n"), HasSubstr("must be a map"));
  EXPECT_THAT(error(levels + "tree: {'': n}\n"), HasSubstr("no name"));
  EXPECT_THAT(error(levels + "tree: {r: n, r: m}\n"), HasSubstr("stands twice"));
  EXPECT_THAT(error("levels: [a, a]\nnodes:\n"), HasSubstr("f:1:13: level \"a\" stands twice"));
  EXPECT_THAT(error("levels: [node]\nnodes:\n"), HasSubstr("cannot be called"));
  EXPECT_THAT(error("levels: []\nnodes:\n"), HasSubstr("at least one"));
  EXPECT_THAT(error("levels: [[a]]\nnodes:\n"), HasSubstr("must be text"));
  EXPECT_THAT(error("levels: [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]\nnodes:\n"),
              HasSubstr("more than 16"));
  EXPECT_THAT(error("levels: [a]\n---\nnodes:\n"), HasSubstr("second document"));
  EXPECT_THAT(error("[a"), HasSubstr("f:"));
}

TEST(NetworkYaml, AliasesCannotMakeItEndless) {
  std::string text = "levels: [l0,l1,l2,l3,l4,l5,l6,l7,l8,l9,l10,l11,l12,l13]\ntree:\n";
  for (char a = 'a'; a < 'n'; ++a) {
    text += fmt::format("  {}: &{} {{", a, a);
    for (int i = 0; i < 9; ++i) {
      text += a == 'a' ? fmt::format("d{}: , ", i)
                       : fmt::format("d{}: *{}, ", i, static_cast<char>(a - 1));
    }
    text += "}\n";
  }
  EXPECT_THAT(ErrorOf(ReadNetworkYaml(text, "f")), HasSubstr("more than 200000 domains"));
}

TEST(NetworkYaml, EveryPrefixIsReadOrRefused) {
  EveryPrefix(
      "levels: [nvlink, rack, zone]\nnodes:\n- {node: n1, rack: r1, zone: z}\n"
      "- {nodes: 'g[0-17]', nvlink: c0}\ntree:\n  z: {r2: {c1: 't[0-3]', c2: [u1]}}\n",
      [](const std::string& t) { return ReadNetwork(t, "f", {}); });
}

TEST(ReadNetwork, TellsTheFormats) {
  EXPECT_TRUE(ReadNetwork("\n# c\n blockname=b Nodes=n\n", "f", {}));
  EXPECT_TRUE(ReadNetwork("\xEF\xBB\xBFSwitchName=b Nodes=n\n", "f", {}));
  EXPECT_TRUE(ReadNetwork(VolcanoExample(), "f", {}));
  EXPECT_TRUE(ReadNetwork("# ours\nlevels: [rack]\nnodes: {n: {rack: r}}\n", "f", {}));
  EXPECT_THAT(ReadNetwork("levels: [rack]\nnodes: {n: {rack: r}}\n", "f", Nodes({"m"}))->warnings,
              ElementsAre(HasSubstr("does not have: n"), HasSubstr("1 of 1 nodes")));
  EXPECT_FALSE(ReadNetwork("", "f", {}));
  EXPECT_FALSE(ReadNetwork("hello", "f", {}));
}

// ---- Clusters ----

TEST(NetworkClusters, NvlRacksOf18) {
  std::string conf;
  std::string yaml = "levels: [nvlink]\nnodes:\n";
  std::string hyper;
  Names names;
  for (int r = 0; r < 33; ++r) {
    const std::string hosts = fmt::format("rack{:02}-[00-17]", r);
    conf += fmt::format("BlockName=rack{} Nodes={}\n", r, hosts);
    yaml += fmt::format("- {{nodes: '{}', nvlink: rack{}}}\n", hosts, r);
    hyper += HyperNode(fmt::format("rack{}", r), 1, PatternMember(fmt::format("^rack{:02}-", r)));
    const Names more = *ExpandHostlist(hosts);
    names.insert(names.end(), more.begin(), more.end());
  }
  const std::vector<int> sizes(33, 18);
  const auto a = ReadNetwork(conf, "f", Nodes(names));
  const auto b = ReadNetwork(yaml, "f", Nodes(names));
  const auto c = ReadNetwork(hyper, "f", Nodes(names));
  ASSERT_TRUE(a && b && c) << ErrorOf(a) << ErrorOf(b) << ErrorOf(c);
  EXPECT_EQ(a->paths.size(), 33U * 18);
  EXPECT_EQ(Sizes(*a, 1), sizes);
  EXPECT_EQ(a->paths, b->paths);
  EXPECT_EQ(a->paths, c->paths);
  EXPECT_THAT(a->warnings, IsEmpty());
}

std::string SharedData() {
  const char* shared = std::getenv("BASALT_SHARED");
  return (shared != nullptr ? shared : std::string(BASALT_SOURCE_DIR) + "/../shared") + "/data/";
}
std::string Slurp(const std::string& path) {
  std::stringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

TEST(NetworkClusters, UnevenLeafGroupsFromLabels) {
  const std::string path = SharedData() + "topology/derived/net_coreweave_h100_64.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const YAML::Node data = YAML::Load(Slurp(path));
  const auto groups = data["leafgroup_sizes"].as<std::vector<int>>();
  // Any split of the groups that makes superpods of 41 and 23: subset sum, largest first.
  const int first_pod = data["superpod_hosts"][0].as<int>();
  std::vector<int> pod(groups.size(), 2);
  int left = first_pod;
  for (std::size_t i = groups.size(); i-- > 0;) {
    if (groups[i] > left) continue;
    left -= groups[i];
    pod[i] = 1;
  }
  ASSERT_EQ(left, 0);
  std::vector<NodeLabels> nodes;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    for (int i = 0; i < groups[g]; ++i) {
      nodes.push_back({fmt::format("h{}", nodes.size()),
                       {{"backend.coreweave.cloud/fabric", "f"},
                        {"backend.coreweave.cloud/superpod", std::to_string(pod[g])},
                        {"backend.coreweave.cloud/leafgroup", std::to_string(g)}}});
    }
  }
  const auto map = NetworkFromLabels(CommonNetworkLevels(), nodes);
  ASSERT_TRUE(map) << ErrorOf(map);
  EXPECT_EQ(map->paths.size(), 64U);
  EXPECT_EQ(Sizes(*map, 2), groups);
  EXPECT_THAT(Sizes(*map, 3), ElementsAre(23, 41));
  EXPECT_THAT(map->warnings, ElementsAre(HasSubstr("no node names its nvlink")));
}

TEST(NetworkClusters, SharedSlurmSample) {
  const std::string path = SharedData() + "topology/k8s/slurm_topology_examples.txt";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const auto map = ReadNetwork(Slurp(path), path, {});
  ASSERT_TRUE(map) << ErrorOf(map);
  EXPECT_EQ(map->paths.at("n9"), (NetworkPath{{1, "leaf1"}, {2, "spine"}}));
  EXPECT_EQ(map->paths.at("g18"), (NetworkPath{{1, "rack1"}}));
  EXPECT_EQ(map->tier_names.at(1), "leaf or block");
  EXPECT_THAT(Sizes(*map, 1), ElementsAre(8, 8, 18, 18));
}

TEST(NetworkClusters, EveryCommonLabelOfTheSharedListIsKnown) {
  const std::string path = SharedData() + "topology/k8s/network_labels.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  std::set<std::string> known;
  for (const NetworkLevel& level : CommonNetworkLevels()) {
    known.insert(level.label_keys.begin(), level.label_keys.end());
  }
  const YAML::Node data = YAML::Load(Slurp(path));
  for (const char* part : {"nvlink_domain", "fabric"}) {
    for (const auto& entry : data[part]) {
      EXPECT_TRUE(known.contains(entry.first.Scalar())) << entry.first.Scalar();
    }
  }
}

}  // namespace
}  // namespace basalt::topology
