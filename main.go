// Command sluice is a virtual switch emulator with firewall insertion points, for teaching and labs.
package main

func main() {}
