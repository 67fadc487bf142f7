"""What tests share: worlds, servers, programs to be killed, and what makes and reads their data."""
