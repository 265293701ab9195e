// Generated from web/milepost/ by `node sdks/typescript/bundle.js`. Do not edit.
var d=r=>["completed","failed","cancelled"].includes(r.status);function m(r,t){let[s,e]=t.split("-"),[i,n]=(r??"").split(
"-");return s!==i||!e||!n?NaN:n.length-e.length||(n<e?-1:+(n>e))}function u(r){try{let t=JSON.parse(r);return typeof t=="object"?t:null}catch{return null}}var U=6e5;function k(r,t,s,e){if([1e3,1002,1007,1009].includes(r)||r>=4400&&r<4500)return null;if(r===1011)return 1e3+e*
4e3;let i=r===1012||r===1013?u(t)?.retry_ms:void 0;return i>=0?Math.min(i,U):e*Math.min(3e4,1e3*2**Math.min(s,10))}var S=({
headers:r})=>Math.min(Number(r.get("retry-after"))*1e3*(1+Math.random())||0,U);var Z=/^[!#$%&'*+.^`|~\w-]+$/;function v(r,t){let s=Z.test(t),e=t&&!s?new URLSearchParams({token:t}):"";return new WebSocket(
`${r.replace(/^http/,"ws")}/ws?${e}`,s?["milepost",`milepost.bearer.${t}`]:[])}var x=r=>r.replace(/^ws/,"http").replace(
/\/+$/,"");var w=1e4,tt=3,st=100,et=250,D=0,L=4404,N=4401,it=3*w,p=()=>performance.now(),O=class{#t=new Map;#s=0;#r=0;#e=0;#n="conn\
ecting";#o="";#i;#c=null;#l=-1/0;#a=0;#u=!1;#d=0;#O=0;#m=null;#b=null;#p=!1;#S=0;#f={};constructor(t,s,e){this.base=x(t),
this.token=s,this.#i=typeof s=="function"?null:s??"",this.notify=e}watch(t,s,e){this.#v(t),this.#t.set(t,{since:s,pace:e}),
this.#h(" rest"),this.#b?this.#I(t):this.#p?this.#j(t):!this.#m&&!this.#f[" retry"]&&this.#w()}unwatch(t){this.#v(t),this.#t.
delete(t)&&(this.#y({type:"unsubscribe",job_id:t}),this.#t.size||this.#h(" rest",100,()=>this.close()))}probe(){if(this.#b)
return this.#L(3e3);!this.#f[" retry"]&&!this.#p||(this.#r=this.#e=this.#s=0,this.#N(),this.#w())}close(){this.#t.clear(),
this.#N(),this.#g("connecting")}#w(){if(this.#h(" retry"),!!this.#t.size){if(this.#i===null)return this.#q();if(!this.#s&&
!globalThis.WebSocket&&(this.#s=1),!this.#s)return this.#$();this.#p=!0;for(let t of this.#t.keys())this.#j(t)}}#T(){if(this.#c)
return this.#c;let t;this.#l=p();let s=new Promise((i,n)=>{t=setTimeout(n,it,new Error("no token came in time"))}),e=this.
token;return this.#c=Promise.race([s,Promise.resolve().then(e)]).then(i=>{this.#i=String(i??"")}).finally(()=>{clearTimeout(
t),this.#c=null})}#q(){this.#T().then(()=>this.#m||this.#p||this.#w(),t=>{console.warn(`milepost: no token: ${t}`),this.#U(
k(1006,"",this.#e++,Math.random())??0)})}#W(t){typeof this.token=="function"&&this.#h(" token",t*333,()=>{let s=this.#i;
this.#T().then(()=>this.#i!==s&&this.#y({type:"auth",token:this.#i}),()=>{})})}#F(){return typeof this.token!="function"||
(this.#i=null,++this.#a>1)?null:p()-this.#l<5e3?1e3:0}#$(){let t;try{t=v(this.base,this.#i??"")}catch(i){return this.#k(
4400,String(i))}let s=()=>{this.#h(" greeting"),this.#h(" blocked"),t.onclose=t.onerror=t.onmessage=null,t.close(),this.#m=
this.#b=null},e=(i,n)=>{s(),this.#p?this.#P():this.#k(i,n)};this.#m=s,this.#o="",this.#h(" greeting",w,()=>e(1006,"")),t.
onclose=i=>e(i.code,i.reason),t.onerror=()=>this.#h(" blocked",st,()=>{this.#s=1,e(D,"")}),t.onmessage=i=>{this.#O=p(),this.#h(
" dead");let n=u(i.data);if(typeof n?.position=="string")return this.#M(n);if(this.#R(n?.timestamp),n?.type==="connected"){
this.#h(" greeting"),this.#D(),this.#b=t,this.#s=0,this.#u=!0,this.#a=0,this.#x();for(let o of this.#t.keys())this.#I(o);
this.#A()}else n?.type==="subscribed"?this.#E(n.job_id,n.known):n?.type==="token_expiring"?this.#W(n.in):n?.type==="erro\
r"&&this.#B(n)}}#A(){this.#h(" listen",2500,()=>{p()-this.#O>w&&this.#L(5e3),this.#A()})}#L(t){this.#f[" dead"]||(this.#y(
{type:"ping"}),this.#h(" dead",t,()=>this.#k(1006,"")))}#I(t){let s=this.#t.get(t);this.#y({type:"subscribe",job_id:t,since:s?.
since,...s?.pace})}#y(t){this.#b?.send(JSON.stringify(t))}#R(t){let s=Date.parse(t??"")-Date.now();Math.abs(s-this.#d)>=
et&&(this.#d=s,this.notify({t:"clock",skew:s}))}#M(t){let s=this.#t.get(t.job_id);s&&(m(s.since,t.position)>0||(s.since=
t.position),this.notify({t:"state",job:t.job_id,state:t}))}#E(t,s){s===!1&&this.#t.has(t)&&this.notify({t:"unknown",job:t})}#B({
problem:t,message:s="",job_id:e=""}){this.#t.has(e)?t==="forbidden"?this.#_(e,s,4403):/^invalid/.test(t??"")?this.#_(e,s,
4400):this.#j(e):this.#o=s}#_(t,s,e){this.unwatch(t),this.notify({t:"rejected",job:t,reason:s,code:e})}async#j(t){let s=this.#t.
get(t);if(s)for(;;){let e=s.stop=new AbortController,i=h=>this.#h(t,h,()=>e.abort()),n=this.#S<tt;this.#S+=Number(n);let o=0;
try{i(2*w),n&&this.#s===1&&!s.ended?await this.#z(t,s,e.signal,i):o=await this.#G(t,s,e.signal,n)}catch(h){let{code:c,reason:a=""}=h;
if(s.stop!==e)return;if([4400,4403].includes(c)||c===N&&typeof this.token!="function")return this.#_(t,a,c);if(!this.#b)
return this.#k(c,a);o=Math.max(5e3,u(a)?.retry_ms||0)}finally{this.#S-=Number(n)}if(s.stop!==e)return;await new Promise(
h=>this.#h(t,o,()=>h(null)))}}#v(t){let s=this.#t.get(t);this.#h(t),s?.stop?.abort(),s&&(s.stop=void 0)}async#C(t,s,e={}){
let i=this.#i;i&&(e.authorization=`Bearer ${i}`);let n=i?"manual":"follow",o=await fetch(`${this.base}/jobs/${t}`,{headers:e,
signal:s,redirect:n,cache:"no-store"}),{ok:h,status:c}=o;if(i&&(o.type==="opaqueredirect"||o.headers.has("location")))throw{
code:L,reason:`${this.base} redirects; a token is sent to the server itself only`};if(this.#J(o),this.#d||this.#R(o.headers.
get("date")),h||c===304||c===404)return this.#a=0,o;let a=S(o);if(a)throw{code:1013,reason:`{"retry_ms":${a}}`};let l=u(
await o.text())?.detail;throw{code:[400,401,403].includes(c)?4e3+c:1006,reason:l}}#J({ok:t,status:s,url:e,headers:i}){let n=i.
get("content-type")??"";if(this.#u||=(t?/json|event-stream/:/problem.json/).test(n)||s===204||s===304,!(this.#u||!(t||s===
404)))throw{code:L,reason:`no Milepost server at ${this.base}: ${e} answered ${s} ${n}`.trim()}}async#z(t,s,e,i){let n=Object.
entries({since:s.since,...s.pace}).filter(([,A])=>A),o=`${encodeURIComponent(t)}/events?${new URLSearchParams(n)}`,{body:h,
status:c}=await this.#C(o,e);if(s.ended=c===204,s.ended)return;if(c===404||!h)throw{};let a=h.pipeThrough(new TextDecoderStream).
getReader(),[l,f,y,C]=["","",2*w,p()];for(;!s.ended;){let{done:A,value:H}=await a.read();if(e.aborted||A||l.length>1e7)throw{
code:1012,reason:f};let P=(l+H).split(`

`);l=P.pop()??"";for(let V of P){this.#x();let b=Object.fromEntries(V.split(`
`).map(Q=>Q.split(/: ?(.*)/))),j=u(b.data);if(b.retry&&(f=`{"retry_ms":${b.retry}}`),!j)y=Math.max(5e3,p()-C);else if(b.
event==="end")s.ended=!0;else{if(b.event==="unauthenticated")throw{code:N,reason:j.detail};b.event?this.#E(t,j.known):this.#M(
j)}}C=p(),i(3*y)}}async#G(t,s,e,i){let n=p(),o=i&&this.#n==="open"?15:0,h=`${encodeURIComponent(t)}?wait=${o}`,c=await this.#C(
h,e,s.since?{"if-none-match":`"${s.since}"`}:{}),{status:a}=c,l=a===200&&await c.json();this.#p&&this.#x(),a===404&&this.#E(
t,!1),l&&(s.ended=d(l),this.#M(l));let f=i?1e3/(s.pace.max_rate??2):Math.max(2e3,100*this.#t.size);return Math.max(f+n-p(),
S(c))}#x(){this.#r=0,this.#g("open"),this.#f[" stable"]||this.#h(" stable",5e3,()=>this.#e=0),this.#p&&this.#P()}#P(){this.#f["\
 climb"]||this.#m||!globalThis.WebSocket||this.#h(" climb",3*w,()=>this.#$())}#k(t,s){let e=this.#n!=="open";if(this.#N(),
t===D)return this.#w();e&&t!==N&&++this.#r===2&&(this.#r=0,this.#s=(this.#s+1)%3);let i=t===N?this.#F():k(t,s,this.#e,Math.
random());if(this.#e+=1,t===L)return this.#g("failed",s,t);if(i===null)return this.#g("closed",this.#o||s,t);this.#U(i)}#U(t){
this.#g("connecting"),this.#h(" retry",t,()=>this.#w())}#N(){for(let t of Object.keys(this.#f))this.#h(t);this.#m?.(),this.#D()}#D(){
this.#p=!1,this.#h(" climb");for(let t of this.#t.keys())this.#v(t)}#h(t,s,e){clearTimeout(this.#f[t]),delete this.#f[t],
e&&(this.#f[t]=setTimeout(()=>{delete this.#f[t],e()},s))}#g(t,s="",e=0){t!==this.#n&&(this.#n=t,this.notify({t:"connect\
ion",connection:t,reason:s,code:e}))}};var g=class{#t=new Map;#s=new Set;#r={t:"connection",connection:"connecting",reason:"",code:0};#e=null;constructor(t,s){
this.session=new O(t,s,e=>this.#c(e))}receive(t,s){s.t==="open"?(this.#s.add(t),t(this.#r),this.#e&&t(this.#e),s.lock&&navigator.
locks.request(s.lock,()=>this.#i(t))):s.t==="watch"?this.#n(t,s):s.t==="unwatch"?this.#o(s.job,s.key):s.t==="probe"?this.
session.probe():this.#i(t)}#n(t,{key:s,job:e,since:i,pace:n}){let o=this.#t.get(e)??{subscribers:new Map,pace:"",last:void 0};
this.#t.set(e,o),o.subscribers.set(s,{port:t,pace:n});let h=nt(o.subscribers),c=JSON.stringify(h),{last:a}=o;if(a&&t(a),
a?.t!=="state")this.session.watch(e,o.subscribers.size>1?void 0:i,h);else{let{position:l}=a.state,f=m(i,l)<0;(f||o.pace!==
c)&&this.session.watch(e,f?i:l,h)}o.pace=c}#o(t,s){let e=this.#t.get(t);!e?.subscribers.delete(s)||e.subscribers.size||(this.#t.
delete(t),this.session.unwatch(t))}#i(t){this.#s.delete(t);for(let[s,e]of this.#t)for(let[i,n]of e.subscribers)n.port===
t&&this.#o(s,i)}#c(t){let s=this.#s;if(t.t==="connection")this.#r=t;else if(t.t==="clock")this.#e=t;else{let e=this.#t.get(
t.job);if(!e)return;e.last=t,s=new Set([...e.subscribers.values()].map(i=>i.port)),t.t==="rejected"&&this.#t.delete(t.job)}
for(let e of s)e(t)}};function nt(r){let t=[...r.values()].map(e=>e.pace),s=t.map(e=>e.max_rate??1/0);return{mode:t.every(
e=>e.mode==="latest")?"latest":void 0,max_rate:s.includes(1/0)?void 0:Math.max(...s)}}var q="milepost-e8ad70b6",W=(r,t)=>JSON.stringify([q,import.meta.url,r,t]);function F(){let r=globalThis,[t,,s,e]=u(r.
name)??[];if(t!==q||!r.SharedWorkerGlobalScope)return;let i=new g(s,e),n=new Promise(o=>{navigator.locks.request(`${r.name}\
 worker`,()=>new Promise(()=>o()))});r.onconnect=({ports:[o]})=>{let h=c=>o.postMessage(c);o.onmessage=({data:c})=>i.receive(
h,c),n.then(()=>h({t:"hello"}))}}var B="document"in globalThis,M=Math.random().toString(36),T=class{#t=new Set;connection="connecting";reason="";code=0;skew=0;#s=null;#r=!1;#e=[];constructor(t,s,e){
if(this.url=t,this.token=s,this.name=W(t,String(s??"")),this.isShared=e&&typeof s!="function"&&B&&navigator.locks,this.#i(),
!!B){for(let i of["visibilitychange","online","offline","pageshow"])addEventListener(i,()=>{if(!document.hidden){this.#r?
this.#i():this.#s?.({t:"probe"});for(let n of this.#t)n.onConnection()}});addEventListener("pagehide",()=>this.#c())}}add(t){
this.#t.add(t),this.#s?.(t.command("watch"))}delete(t){this.#t.delete(t),this.#s?.(t.command("unwatch"))}#n=t=>{if(t.t===
"clock"){this.skew=t.skew;return}t.t==="connection"&&({connection:this.connection,reason:this.reason,code:this.code}=t),
this.connection==="failed"&&t.t==="connection"&&console.warn(`milepost: ${this.reason}`);for(let s of this.#t)t.t==="con\
nection"?s.onConnection():t.job===s.jobId&&s.onMessage(t)};#o(t,s){this.#s=t,t({t:"open",lock:s});for(let e of this.#t)t(
e.command("watch"))}#i(){this.#r=!1;let t=M+this.name;this.isShared?this.#l(t,()=>this.#u(t)):this.#a()}#c(){this.#r=!0,
this.#s?.({t:"bye"}),this.#s=null;for(let t of this.#e.reverse())t();this.#e=[]}#l(t,s){let e=new AbortController,i=new Promise(
n=>{this.#e.push(n,()=>e.abort())});navigator.locks.request(t,{signal:e.signal},()=>(s(),i)).catch(n=>{n.name!=="AbortEr\
ror"&&this.#a()})}#a(){let t=new g(this.url,this.token);return this.#e.push(()=>t.session.close()),this.#o(s=>t.receive(
this.#n,s)),t}#u(t){let s=this.#e;new Promise((i,n)=>{let o=new URL(import.meta.url);if(o.origin!==location.origin||!o.pathname.
endsWith("/milepost.js"))throw o;let h=new SharedWorker(o,{type:"module",name:this.name});h.onerror=n,setTimeout(n,3e3),
h.port.onmessage=({data:c})=>c.t==="hello"?i(h.port):this.#n(c)}).then(i=>{s===this.#e&&(this.#o(n=>i.postMessage(n),t),
this.#l(`${this.name} worker`,()=>{this.#c(),this.#i()}))},()=>s===this.#e&&this.#d(t))}#d(t){let s=new BroadcastChannel(
this.name),e=null,i=new Map;s.onmessage=({data:{from:n,to:o,command:h,message:c}})=>{if(n&&e){let a=i.get(n)??(l=>s.postMessage(
{to:n,message:l}));i.set(n,a),h.t==="bye"&&i.delete(n),e.receive(a,h)}else o===M?this.#n(c):o==="*"&&this.#s&&this.#o(this.#s,
t)},this.#e.push(()=>s.close()),this.#o(n=>s.postMessage({from:M,command:n}),t),this.#l(this.name,()=>{e=this.#a(),s.postMessage(
{to:"*"})})}};var J=3e4,z=1e3,ot=5e3,G=5e3,rt=2,$=class{position;#t="WebSocket"in globalThis;#s=0;#r=0;#e=0;#n=z;#o=!1;#i=()=>{};constructor(t,s,e){
this.jobId=t,this.options=s,this.position=s.since,this.base=x(e),s.signal?.addEventListener("abort",()=>this.close()),s.
signal?.aborted||this.#c()}close(){this.#o=!0,this.#i()}async#c(){let{token:t}=this.options;for(;!this.#o;){let s;try{let e=String(
(typeof t=="function"?await t():t)??"");if(this.#o)return;s=await(this.#t?this.#u(e):this.#d(e))}catch(e){let{code:i=1006,
reason:n=""}=e;if(s=i===4401&&typeof t=="function"&&++this.#e===1?1e3:k(i,n,this.#r++,Math.random()),s===null){this.close(),
this.options.onError?.(Object.assign(new Error(n||"rejected"),{code:i}));return}}this.#o||await this.#l(s)}}#l(t){return new Promise(
e=>{let i=setTimeout(e,t);this.#i=()=>(clearTimeout(i),e())})}#a({lines:t,next:s,log:e,log_gap:i}){this.#s=this.#r=this.#e=
0,this.position=s??this.position,this.options.onLines({lines:t,gap:i===!0,log:e,next:s})}#u(t){return new Promise((s,e)=>{
let i=v(this.base,t),n,o=a=>{clearTimeout(n),i.onmessage=i.onclose=i.onerror=null,i.close(),a()},h=(a,l)=>{a===1006&&++this.#s>=
rt&&(this.#t=!1),o(()=>e({code:a,reason:l}))},c=()=>{clearTimeout(n),n=setTimeout(()=>h(1006,""),J)};this.#i=()=>o(()=>s(
0)),c(),i.onclose=({code:a,reason:l})=>h(a,l),i.onerror=()=>n=setTimeout(()=>h(1006,""),100),i.onmessage=({data:a})=>{c();
let l=u(a);if(l?.type==="connected")i.send(JSON.stringify({type:"subscribe",job_id:this.jobId,log:!0,since:this.position}));else if(l?.
type==="log")this.#a(l);else if(l?.type==="error"){let{problem:f,message:y}=l;if(f==="unknown-job")return o(()=>s(G));if(f===
"forbidden")return h(4403,y);if(f==="unauthenticated")return;/^invalid|^too-many/.test(f)&&(this.#t=!1),o(()=>this.#t?e(
{code:1012,reason:y}):s(0))}}})}async#d(t){let s=new AbortController;this.#i=()=>s.abort();let e=setTimeout(()=>s.abort(),
J);try{let i=new URLSearchParams(this.position?{since:this.position}:{}),n=await fetch(`${this.base}/jobs/${encodeURIComponent(
this.jobId)}/log?${i}`,{headers:t?{authorization:`Bearer ${t}`}:{},redirect:t?"error":"follow",signal:s.signal,cache:"no\
-store"}),{ok:o,status:h}=n,c=u(await n.text());if(this.#o)return 0;if(h===404)return G;if(!o||!Array.isArray(c?.lines)){
let a=S(n);throw a?{code:1013,reason:`{"retry_ms":${a}}`}:{code:[400,401,403].includes(h)?4e3+h:1006,reason:c?.detail}}return this.#n=
c.lines.length?z:Math.min(ot,this.#n*1.5),this.#a(c),this.#n}finally{clearTimeout(e)}}};var ht=3e4,ct=5e3,at=3,lt=.01,ft=3e4,ut=.2,I=r=>typeof r=="string"?Date.parse(r):NaN,E=class{#t=null;#s=0;#r={at:0,progress:0};#e={
at:0,progress:0};#n=-1;#o=0;#i=0;#c=0;note(t,s){let e=this.#t;this.#t=t,this.#s=s;let i=typeof t.progress=="number"&&t.status===
"processing"?t.progress:NaN;if((e?.attempt!==t.attempt||!(i>=this.#e.progress))&&(this.#n=-1),isNaN(i))return;if(this.#n<
0)return this.#l(i,s);if(i===this.#e.progress)return;let n=s-this.#e.at,o=Math.max(ft,ut*(s-this.#r.at)),h=o/(o+n);this.#o=
this.#o*h+i-this.#e.progress,this.#i=this.#i*h+n,this.#c=this.#c*h+1,this.#n+=1,this.#e={at:s,progress:i}}#l(t,s){this.#n=
this.#o=this.#i=this.#c=0,this.#r=this.#e={at:s,progress:t}}get#a(){return this.#t?.status==="processing"}silentFor(t){return this.#a?
Math.max(0,t-(I(this.#t?.last_seen_at)||this.#s)):null}standsFor(t){return this.#a?Math.max(0,t-(I(this.#t?.progressed_at)||
this.#e.at||this.#s)):null}health(t){let{health:s}=this.#t??{};return!this.#t||d(this.#t)?"ok":s==="ok"||s==="stalled"||
s==="lost"?s:(this.silentFor(t)??0)>ht?"lost":"ok"}rate(t){let{at:s,progress:e}=this.#e;if(!this.#a||this.#n<at||this.health(
t)!=="ok"||s-this.#r.at<ct||e-this.#r.progress<lt)return null;let i=Math.max(0,t-s-2*this.#i/this.#c);return this.#o/(this.#i+
i)*1e3}timeLeft(t){let s=I(this.#t?.eta);if(this.#a&&this.health(t)==="ok"&&s)return s>t?s-t:null;let e=this.rate(t);if(e===
null)return null;let i=(1-this.#e.progress)/e*1e3-(t-this.#e.at);return i>0?i:null}};var pt=0,R=class{state=null;known=null;connection="connecting";error=null;#t=[];#s=[];#r=()=>{};#e=`${M} ${++pt}`;#n=!1;#o=!1;#i=!1;#c="";#l=new E;constructor(t,s,e){
this.jobId=t,this.options=s,this.client=e,this.pace={mode:s.mode,max_rate:s.maxRate},s.since&&this.#t.push(s.since),e.add(
this),this.onConnection(),s.signal?.addEventListener("abort",()=>this.close()),s.signal?.aborted&&this.close()}get position(){
return this.#t.at(-1)}get serverNow(){return Date.now()+this.client.skew}get timeLeft(){return this.connection==="open"?
this.#l.timeLeft(this.serverNow):null}get silentFor(){return this.#l.silentFor(this.serverNow)}get standsFor(){return this.#l.
standsFor(this.serverNow)}get health(){return this.connection==="open"?this.#l.health(this.serverNow):"ok"}close(){this.#n||
(this.#n=!0,this.client.delete(this),this.onConnection(),this.#r())}async*[Symbol.asyncIterator](){try{for(;;){let t=this.#s.
shift();if(t)yield t;else{if(this.error)throw this.error;if(this.#n)return;await new Promise(s=>this.#r=()=>s(void 0))}}}finally{
this.close()}}command(t){return{t,key:this.#e,job:this.jobId,since:this.position,pace:this.pace}}onConnection(){let{connection:t,
reason:s,code:e}=this.client,i=t==="failed";if((i||t==="closed")&&!this.#n)return this.#o=i,this.#a(s,e);let n=t!=="open"&&
globalThis.navigator?.onLine===!1,o=t==="connecting"&&this.#i,h=this.#o?"failed":"closed",c=this.#n?h:n?"offline":o?"rec\
onnecting":t;this.#i||=t==="open",c!==this.connection&&(this.connection=c,_(this.options.onConnection,c))}onMessage(t){this.#n||
(t.t==="rejected"?this.#a(t.reason,t.code):t.t==="state"?this.#u(t.state):this.known!==!1&&(this.known=!1,_(this.options.
onUnknown)))}#a(t,s){this.error=Object.assign(new Error(t||"rejected"),{code:s}),this.close(),_(this.options.onError,this.
error)}#u(t){let{position:s}=t;if(this.#t.some(o=>m(o,s)>=0))return;let e=this.#t.filter(o=>isNaN(m(o,s)));this.#t=[...e.
slice(-3),s],this.state=t,this.#l.note(t,this.serverNow),this.known=!0;let i=this.#s.at(-1);if(i&&!d(i)&&this.#s.pop(),this.#s=
[...this.#s.slice(-8),t],this.#r(),_(this.options.onState,t),!d(t)||this.#n)return;let n=`${t.attempt} ${t.status} ${t.timestamp}`;
n!==this.#c&&_(this.options.onEnd,t),this.#c=n,this.options.follow||this.close()}},Y=new Map,K=r=>new URL(r??"/",globalThis.
location?.href).href;function X(r,t={}){let s=K(t.url),e=t.share??!0,{token:i}=t,n=`${e} ${s}`,o=Y.get(i)??new Map,h=o.get(
n)??new T(s,i,e);return Y.set(i,o.set(n,h)),new R(r,t,h)}function dt(r,t){return new $(r,t,K(t.url))}function _(r,...t){
try{r?.(...t)}catch(s){queueMicrotask(()=>{throw s})}}function mt(r){let t=typeof r=="string"?r.split(/\r?\n|\r/).filter(e=>e.trim()):[],s=(t.filter(e=>!/^\s/.test(e)).at(-1)??
t.at(-1)??"").trim();return s.length>300?`${s.slice(0,300)}…`:s}function Xt(r,t){return X(r,t)}F();export{E as Outlook,mt as errorSummary,d as isEnd,Xt as watch,dt as watchLog};
