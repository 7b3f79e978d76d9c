//! The long help texts: all of them, in one place. `-h` shows none of this, `--help` and the man page do.

pub(crate) const PROGRAM: &str = "\
Where a Kubernetes Service packet goes, and why.

kpclass reads a node's iptables rules (what kube-proxy wrote, and every other chain beside it), compiles them into \
a lookup program, and replays captures through it. Every verdict is checked against a plain walk of the same rules.

Results go to stdout, everything else to stderr. Exit status: 0 fine, 1 a finding (a disagreement, or \
something wrong with connections), 2 trouble.";

pub(crate) const PROGRAM_EXAMPLES: &str = "\
Examples:
  sudo iptables-save > node.rules
  kpclass services --rules node.rules
  kpclass explain --rules node.rules --packet 'tcp 10.1.5.5:40000 > 10.152.183.1:443'
  kpclass replay office.pcap --rules node.rules --local-addrs 10.10.2.58";

pub(crate) const REPLAY: &str = "\
Send captures through the rules and count the verdicts: per Service and endpoint, masqueraded, dropped, rejected.

The choice of an endpoint is random in the kernel; here it derives from the packet's tuple and --seed, so that a \
replay can be repeated, with any number of threads. Verdicts are checked against the reference walk; a disagreement \
is printed with all that is needed to reproduce it, and the exit status is 1.

What the dump and the capture do not tell is never guessed: a verdict that depends on it is unknown, and the report \
names the option that would supply it.

Connections are followed as the kernel does (--mode packet takes each packet as the first of one), and told of: how \
many there are to each Service and endpoint, who talks to what (--top), what was never answered and what answered \
unasked, and what is wrong, with the frames that show it; the exit status is then 1, too:
  stale endpoint         connections went to an endpoint to which no rule of the Service leads
  lost masquerade        the source was kept, though rules have it masqueraded
  unexpected masquerade  it was not, though no rule says so
  skewed balance         endpoints get other shares than the rules give: a chi-square test, with at most one false \
alarm in 1,000 reports, of connections that the capture shows to have begun and where they went; what is not shown is \
taken to have gone where it makes least difference; Services with session affinity are left out
  unequal probabilities  the rules of a Service that was met do not give its endpoints equal shares";

pub(crate) const REPLAY_EXAMPLES: &str = "\
Examples:
  kpclass replay office.pcap --rules node.rules
  kpclass replay monday.pcap.zst tuesday.pcap.zst --rules node4.rules --rules node6.rules --local-addrs ip-addr.json
  tcpdump -i any -w - | kpclass replay - --rules live --local-addrs live
  kpclass replay office.pcap --rules node.rules --local-addrs live --top 20
  kpclass replay office.pcap --rules node.rules --verdicts office.csv --json > office.json";

pub(crate) const EXPLAIN: &str = "\
Show one packet's way through the rules, rule by rule, and every possible end with its exact probability.

A packet is written as `PROTOCOL SOURCE[:PORT] > DESTINATION[:PORT]`, IPv6 addresses with ports in brackets, then \
any of in=NAME hook=prerouting|output mark=0x0 ctstate=new flags=S type=8. The connection of a frame's packet is \
followed from the start of the capture, and told up to that frame: each frame with its ctstate, what nat did, and its \
verdict. With --mode packet it is taken as the first of its connection.";

pub(crate) const EXPLAIN_EXAMPLES: &str = "\
Examples:
  kpclass explain --rules node.rules --packet 'tcp 10.1.5.5:40000 > 10.152.183.1:443'
  kpclass explain --rules node.rules --packet 'udp [fd00::5]:5353 > [fd00:10:96::a]:53 in=cni0'
  kpclass explain --rules node.rules --local-addrs live --frame office.pcap:81203
  kpclass explain --rules node.rules --frame office.pcap:81203 --mode packet
  kpclass explain --rules node.rules --packets questions.txt --json";

pub(crate) const SERVICES: &str = "\
List the Services of a dump, how each is reached (cluster IP, node port, load balancer, external IP), its endpoints \
with the exact probability of each, and what is special about it (session affinity, no endpoints).";

pub(crate) const SERVICES_EXAMPLES: &str = "\
Examples:
  kpclass services --rules node.rules
  sudo iptables -t nat -L -n -v | kpclass services --rules -
  kpclass services --rules live --json | jq -r .service";

pub(crate) const VERIFY: &str = "\
Hold the verdicts on a dump's rules against a real kernel: this machine's.

The rules are loaded by iptables-restore into a network namespace made for it, with the node's addresses, sets and \
devices; packets are put in front of PREROUTING and OUTPUT, and what the kernel does with each (where it goes, its \
addresses, ports and mark behind nat, how it is rejected), the counters of every rule, and the rules that the kernel \
prints back are compared with the reference walk, which is compared with the compiled program. Nothing outside the \
namespace is touched. A disagreement is printed with both ways and the smallest rules that still show it; the exit \
status is then 1.

It needs iptables, iproute2, nftables, ipset, conntrack and nfacct, and a whole dump: a kernel refuses rules whose \
chains were cut away, and matches that it was not built with.";

pub(crate) const VERIFY_EXAMPLES: &str = "\
Examples:
  sudo kpclass verify --kernel --rules node.rules --local-addrs ip-addr.json
  sudo kpclass verify --kernel --rules node.rules --packets questions.txt --backend nft
  sudo kpclass verify --kernel --rules live --local-addrs live --random 100000 --seed 7 --json";

pub(crate) const BENCH: &str = "\
Time, on a dump's own rules, the compiled lookup beside the linear walk, and beside this machine's kernel: nanoseconds \
a packet, by how far down in KUBE-SERVICES the rule stands that takes it.

Packets go to each Service of the dump, or are those of a capture. Answers are compared before anything is timed. The \
kernel is asked with iptables-legacy, with iptables-nft, and with the same Services in an nftables verdict map (as \
kube-proxy's nftables mode writes them), each in a network namespace made for it; nothing outside is touched. What it \
takes without any rules is subtracted. It needs root (or user namespaces), iptables, nftables and iproute2; what cannot \
be timed is named, with the reason.

From the positions that the dump has, the cost of a packet to the last of 10 to 100,000 such Services is projected. The \
walk and the kernel take each rule in turn, so that it is a line; the compiled lookup has no rules to go through.";

pub(crate) const BENCH_EXAMPLES: &str = "\
Examples:
  kpclass bench --rules node.rules --without-kernel
  sudo kpclass bench --rules node.rules --svg cost.svg
  sudo kpclass bench office.pcap --rules live --local-addrs live --json";

pub(crate) const DUMP: &str = "\
Print a stage of the compilation as text, one item a line: the rules as they were read (canonical iptables-save \
text, which iptables-restore accepts), the graph of chains, the classes of destinations, the lookup program.";

pub(crate) const DUMP_EXAMPLES: &str = "\
Examples:
  iptables -t nat -S | kpclass dump ruleset --rules - > nat.rules
  kpclass dump program --rules node.rules | less";

pub(crate) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  kpclass completions bash > /etc/bash_completion.d/kpclass
  kpclass completions zsh > ~/.zfunc/_kpclass";

pub(crate) const MAN_EXAMPLES: &str = "\
Examples:
  kpclass man > kpclass.1 && man ./kpclass.1";

pub(crate) const GENERATE: &str = "\
Write synthetic clusters (the rules that kube-proxy writes, of any size, with every feature of Services), and captures \
whose packets hit the Services of a dump: from pods, from outside, from the node, from an endpoint to its own Service, \
and some to no Service at all. The same seed gives the same bytes.";

pub(crate) const GENERATE_EXAMPLES: &str = "\
Examples:
  kpclass generate cluster --services 5000 --endpoints 10 -o big.rules
  kpclass generate capture --rules big.rules --frames 1000000 -o big.pcap
  kpclass replay big.pcap --rules big.rules --local-addrs 192.168.10.2";
