package cli

// policyLanguage is the language of policies on one screen. docs/policy.md has more of it.
const policyLanguage = `A policy is a YAML file:

  services:                            # names for what is spoken
    telnet: {tcp: 23}
    http: {tcp: [80, 8000-8010]}
    ping: {icmp: echo}
  default: drop                        # for what no rule matches
  rules:                               # in order: the first match decides
  - {name: web, from: client, to: server, service: [http, ping], action: allow}
  - {name: no-telnet, from: client, to: server, service: telnet, direction: out,
     action: reject}

A flow must be allowed twice: where it leaves its guest (out) and where it reaches the other (in). Its answers belong to it.

A rule      says
name        what it is called
from, to    any, a guest, a segment, a group, an address, a subnet; or a list of them. !NOUN takes one out:
            [lan, !client] is lan but client, !office is all but office   (any)
service     names of services; or a list of them   (any)
direction   out is asked where the flow leaves its guest, in where it reaches the other   (in-out)
applied-to  at whose vNICs the rule is asked   (at all)
action      allow, drop (silence) or reject (an answer that says no)
stateless   true: remember no flow, so answers need rules of their own; such rules come first   (false)
log         true: each decision is an event; or {prefix: "guess:", rate: 5/minute}   (false)

The policy   says
default      allow, drop or reject; must be there
rules        the list of rules; or, before them, sections: [{name: base, rules: [...]}]
services     NAME: {tcp: 80}, {udp: [53, 5000-5010]}, {icmp: echo}; or a list of such. icmp takes any, types (echo, echo-reply,
             destination-unreachable, time-exceeded, ...) and codes (host-unreachable, ttl-exceeded, ...) by name; icmpv4 and icmpv6
             also numbers, as 3 or 3/1; protocol takes gre, esp, ah, sctp, ospf, vrrp, igmp, ... or a number.
             Beside tcp and udp: {tcp: 80, from-port: 1024-65535} asks for source ports, {tcp: any, flags: syn/syn|ack} for flags of TCP
groups       NAME: [guests, segments, other groups, addresses, subnets]
exclude      guests that the policy is not for
timeouts     after how much silence a flow is forgotten, as in {udp-multiple: 10s}. udp-first: one packet so far, udp-single: several,
             all from one side, udp-multiple: from both sides (all three also for ICMP); tcp-first: a SYN so far, tcp-open: and its
             answer, tcp-established, tcp-closing: a FIN, tcp-fin-wait: one from each side, tcp-closed: a reset
limits       of each vNIC: {flows: 1000, new-per-second: 100}; per-source: {flows: 50} is of each source address
midstream    true: a TCP flow may begin with an ACK   (false)
tcp-windows  strict, or liberal: also what lies outside of its flow's windows   (strict)
helpers      ftp, tftp or both: in slow, and only there, the appliance lets the flows pass that such connections announce
fail         closed or open: what passes while the appliance fails; or for each of absent, hung, backlogged, table-full   (closed)
`
