// What decides a frame at the ingress of a port's device, before the kernel's stack and the switch in Go see it. So far
// it knows no frame wholly: it punts all of them. scripts/bpf compiles it.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

// punt_offset is what lies between the index of a port's device and that of the device to which it punts
// (vnic.PuntOffset). The loader sets it.
const volatile __u32 punt_offset;

// punt hands the frame to the port's goroutine. The kernel goes on with it as if it had come in at the far end of the
// named veth, where a packet socket hears it: whole, with its open checksum, GSO and VLAN tag, in order.
static __always_inline int punt(struct __sk_buff *frame)
{
	return bpf_redirect_peer(frame->ifindex + punt_offset, 0);
}

// decide says what becomes of a frame that a guest has sent.
SEC("tc")
int decide(struct __sk_buff *frame)
{
	return punt(frame);
}

char _license[] SEC("license") = "Apache-2.0";
