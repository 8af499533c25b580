# Whether the policy in force decides as the old one does, in no more than four rules.
cat >old.yaml <<'END'
# The old policy: one rule for each wish, as they came in over the years.
services:
  ping: {icmp: echo}
  web: {tcp: 80}
  echo: {tcp: 7777}
  telnet: {tcp: 23}
default: drop
rules:
  - {name: web-client, from: client, to: server, service: web, action: allow}
  - {name: ping-client, from: client, to: server, service: ping, action: allow}
  - {name: web-admin, from: admin, to: server, service: web, action: allow}
  - {name: telnet-admin, from: admin, to: server, service: telnet, action: allow}
  - {name: ping-admin, from: admin, to: server, service: ping, action: allow}
  - {name: echo-client, from: client, to: server, service: echo, action: allow}
  - {name: web-visitor, from: visitor, to: server, service: web, action: allow}
END
sluice policy show >new.yaml 2>/dev/null || exit 1
diff=$(sluice policy diff old.yaml new.yaml) || { echo "the policy differs from the old one: $(echo "$diff" | head -1)"; exit 1; }
rules=$(sluice policy lint new.yaml -o json 2>/dev/null | sed -n 's/^ *"rules": *\([0-9]*\).*/\1/p')
[ "$rules" -le 4 ] || { echo "the policy decides as the old one does, but not in four rules"; exit 1; }
