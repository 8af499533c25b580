package frame

// Vnet is a virtio_net_hdr, little-endian on the wire of every machine Sluice runs on (virtio 1.0; for packet sockets
// and TAPs the host's order).
type Vnet [VnetLen]byte
