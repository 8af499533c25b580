# What the policy in force says of everything that resembles the one page. Addresses that nobody has are machines of tomorrow.
cat >expected.yaml <<'LIST'
- {from: laptop, to: payroll, tcp: 23, expect: drop}
- {from: laptop, to: payroll, tcp: 443, expect: drop}
- {from: laptop, to: payroll, udp: 80, expect: drop}
- {from: laptop, to: payroll, icmp: echo, expect: drop}
- {from: payroll, to: laptop, tcp: 80, expect: drop}
- {from: web, to: payroll, tcp: 80, expect: drop}
- {from: web, to: laptop, tcp: 80, expect: drop}
- {from: 10.10.1.99, to: payroll, tcp: 80, expect: drop}
- {from: laptop, to: 10.10.1.99, tcp: 80, expect: drop}
- {from: laptop, to: web, tcp: 23, expect: drop}
LIST
if ! sluice policy test expected.yaml --lab "$SLUICE_LAB" >found 2>errors; then
    cat errors >&2
    sed -n 's/^FAIL  expected.yaml:[0-9]*: //p' found | head -n 1 >&2 # the last line is shown to the student
    exit 1
fi
